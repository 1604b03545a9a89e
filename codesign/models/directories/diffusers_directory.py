"""``diffusers:DIR``: denoisers with their sampler, and autoencoders, from directories that `save_pretrained` wrote.

A pipeline's directory (with model_index.json) gives its denoiser, run by the sampler of the directory's own scheduler
from fixed noise. A component's directory gives one network: a denoiser, called once a sample on given inputs, or the
decoder (or encoder) of an autoencoder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.custom import CustomTask
from codesign.models.directories import autoencoders
from codesign.models.directories import data as sources
from codesign.models.directories.diffusers_files import INDEX, Network, Pipeline, network, pipeline
from codesign.models.directories.diffusion_data import BATCH, SamplerData
from codesign.models.directories.image_metrics import metrics
from codesign.models.directories.options import TaskOptions
from codesign.models.directories.safety import check_directory
from codesign.models.directories.sampler import LCM_STEPS, NOISE, STEPS, Sampler, check_sampled, nested
from codesign.models.directories.weights import machine_memory
from codesign.workload import Workload

_LCM = ("LCM", "TCD")  # beginnings of the names of schedulers for distilled networks
_LCM_GUIDANCE = 8.5  # of a network that takes the scale as an input: LatentConsistencyModelPipeline's
_NOT_ALONE = ("steps", "guidance", "prompts", "size")  # options of a sampler


def load(path: Path, name: str, options: TaskOptions, base: Path) -> CustomTask:
    """The task of a directory, see `load_directory`."""
    for key in ("length", "phases"):
        if getattr(options, key) is not None:
            raise InputError(f"{key}: goes with text, and '{path}' holds a network of images")
    if path.is_file():
        raise InputError(f"'{path}' is a file; give the directory that holds {INDEX} or config.json")
    check_directory(path, parts=(path / INDEX).is_file())
    if (path / INDEX).is_file():
        return _load_pipeline(pipeline(path), name, options, base)
    if not (path / "config.json").is_file():
        inside = sorted(each.parent.name for each in path.glob("*/config.json"))
        hint = f"; its parts are {', '.join(inside)}: give one" if inside else ""
        if (path.parent / INDEX).is_file():
            hint = f"; give the pipeline's directory, diffusers:{path.parent}"
        raise InputError(f"'{path}' holds no {INDEX} and no config.json{hint}")
    found = network(path)
    if found.name in autoencoders.KINDS:
        for key in _NOT_ALONE[:3]:
            if getattr(options, key):
                raise InputError(f"{key}: goes with a denoiser, and '{path}' holds an autoencoder ({found.name})")
        return autoencoders.load_autoencoder(found, name, options, base)
    return _load_alone(found, name, options, base)


def _load_pipeline(found: Pipeline, name: str, options: TaskOptions, base: Path) -> CustomTask:
    """The denoiser of a pipeline, run by its sampler."""
    if options.output:
        raise InputError(f"output: a sampler gives its samples; leave it out, or give one network of '{found.folder}'")
    metrics(options.metric, 0)  # refused before weights are read
    denoiser = found.denoiser()
    check_sampled(denoiser)
    sampler = _sampler(found, denoiser, options)
    data = SamplerData(found, denoiser, sampler, options, base)
    split = data.split()
    loss, more = metrics(options.metric, min(split.evaluation[0].inputs[NOISE].shape[-2:]))
    autoencoder = found.autoencoder()
    show: autoencoders.Show | None = autoencoders.show_images if data.channels in (1, 3) else None
    if autoencoder is not None:
        show = autoencoders.show_decoded(autoencoder, options.memory_gib)

    def work(task: CustomTask) -> Workload:
        with _explained(denoiser):
            return sampler.work(task)

    module = denoiser.weights(options.memory_gib)
    task = CustomTask(
        name,
        module,
        split.calibration,
        split.evaluation,
        loss,
        more=more,
        forward=sampler.forward,
        work=work,
        show=show,
    )
    # every step reads all weights again: those that are not kept would be quantized as often
    own = sum(4 * parameter.numel() for parameter in module.parameters())
    task.kept_bytes = max(task.kept_bytes, min(own, machine_memory() // 4))
    return task


def _sampler(found: Pipeline, denoiser: Network, options: TaskOptions) -> Sampler:
    scheduler = found.scheduler()
    kind = type(scheduler).__name__
    distilled = kind.startswith(_LCM)
    guidance = _LCM_GUIDANCE if denoiser.get("time_cond_proj_dim") else 1.0
    steps = options.steps or (LCM_STEPS if distilled else STEPS)
    sampler = Sampler(scheduler, denoiser, steps, options.guidance or guidance, frozenset(options.shared))
    most = int(scheduler.config.get("original_inference_steps" if distilled else "num_train_timesteps") or steps)
    if steps > most:
        raise InputError(f"steps: {kind} of '{found.folder}' takes at most {most}, not {steps}")
    try:
        sampler.tried()
    except (ImportError, LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"'{found.folder / 'scheduler'}': {kind} runs in no {steps} steps here: {first}") from error
    return sampler


def _load_alone(found: Network, name: str, options: TaskOptions, base: Path) -> CustomTask:
    """A denoiser that is called once a sample, on inputs by the names of its arguments."""
    for key in _NOT_ALONE:
        if getattr(options, key):
            raise InputError(f"{key}: goes with a pipeline's directory ({INDEX}), whose sampler runs the denoiser")
    if not options.data:
        raise InputError(
            f"data: name an .npz or .safetensors of the inputs of '{found.folder}' ({', '.join(found.inputs)})"
        )
    given = base / Path(options.data).expanduser()
    calibration = base / Path(options.calibration).expanduser() if options.calibration else None
    if given.suffix not in sources.ARRAYS:
        raise InputError(
            f"data: '{given}' is no {' or '.join(sources.ARRAYS)}, of the inputs of '{found.folder}' "
            f"({', '.join(found.inputs)})"
        )
    split = sources.split_arrays(
        given, calibration, found.inputs, options.shared, options.sequences, options.batch or BATCH
    )
    metrics(options.metric, 0)
    module = found.weights(options.memory_gib)
    takes_added, chosen = found.takes_added, options.output

    def forward(module: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
        returned = module(**nested(inputs, takes_added))
        return returned if chosen else returned[0]

    first = split.evaluation[0].inputs
    one = {key: x if key in options.shared else x[:1] for key, x in first.items()}
    with _explained(found), torch.inference_mode():
        sides = forward(module, one)
    side = min(sides.shape[-2:]) if isinstance(sides, Tensor) and sides.ndim == 4 else 0
    loss, more = metrics(options.metric, side)
    return CustomTask(
        name, module, split.calibration, split.evaluation, loss, more=more, forward=forward, output=chosen
    )


@contextlib.contextmanager
def _explained(network: Network) -> Iterator[None]:
    """What a network raises about its inputs is one line."""
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except (TypeError, ValueError, RuntimeError, LookupError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"'{network.folder}': {network.name} does not take these inputs: {first}") from error
