"""Diffusion pipelines: text encoders once, the U-Net in every step, the autoencoder once per result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from codesign.workload.catalogue import AnyEntry, PipelineEntry, catalogue
from codesign.workload.options import DiffusionOptions
from codesign.workload.types import Workload

_PHASES = {
    "text-encoder": "text",
    "unet": "denoise",
    "vae-decoder": "decode_image",
    "vae-encoder": "encode_image",
}


def pipeline_workload(name: str, entry: PipelineEntry, part: Callable[..., Workload]) -> Workload:
    """One workload of all networks of a pipeline: a phase per kind of network, layers named ``PREFIX.LAYER``.

    `part(name, **options)` returns the workload of one network. With guidance, text encoder and U-Net process two
    prompts per image.
    """
    parts = {prefix: (network, catalogue()[network]) for prefix, network in entry.parts.items()}
    operators, repeats, parameters, live = [], {}, 0, 0
    for prefix, (network, found) in parts.items():
        workload, phase = part(network, **_options(found, entry.options)), _PHASES[found.kind]
        operators += [replace(op, layer=f"{prefix}.{op.layer}", phase=phase) for op in workload.operators]
        repeats[phase] = next(iter(workload.repeats.values()))
        parameters += workload.parameters
        live = max(live, workload.peak_live_elements)
    return Workload(name, tuple(operators), repeats, parameters, live)


def _options(part: AnyEntry, options: DiffusionOptions) -> dict[str, object]:
    if part.kind == "text-encoder":
        return {"batch": options.prompts}
    return {key: value for key, value in dict(options).items() if key in type(part.options).model_fields}
