"""Whole results of diffusion are the sum of their networks."""

from __future__ import annotations

import pytest

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware import cost, load_accelerator
from codesign.workload import Workload, named_workload
from codesign.workload.catalogue import catalogue

PIPELINES = tuple(name for name, entry in catalogue().items() if entry.kind == "pipeline")


def of_prefix(workload: Workload, prefix: str) -> list[tuple[str, int]]:
    start = f"{prefix}."
    return [(op.layer.removeprefix(start), op.macs) for op in workload.operators if op.layer.startswith(start)]


@pytest.mark.parametrize("name", PIPELINES)
def test_the_layers_of_a_part_are_those_of_its_network_behind_a_prefix(name: str) -> None:
    entry, workload = catalogue()[name], named_workload(name)
    two = 2 if entry.options.guidance else 1
    batches = {"unet": two, "text-encoder": two, "vae-decoder": 1, "vae-encoder": 1}
    found = 0
    for prefix, network in entry.parts.items():
        part = named_workload(network, batch=batches[catalogue()[network].kind])
        assert of_prefix(workload, prefix) == [(op.layer, op.macs) for op in part.operators]
        found += len(part.operators)
    assert found == len(workload.operators)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_has_the_parameters_of_its_parts(name: str) -> None:
    parts = catalogue()[name].parts.values()
    assert named_workload(name).parameters == sum(named_workload(part).parameters for part in parts)


def test_a_result_is_text_once_every_step_and_one_image() -> None:
    workload = named_workload("sd15-pipeline:steps=20,guidance=off")
    assert workload.repeats == {"text": 1, "denoise": 20, "decode_image": 1}
    text, unet, vae = (named_workload(n).macs() for n in ("clip-l-text", "sd15-unet:steps=1", "sd15-vae-decoder"))
    assert workload.macs() == text + 20 * unet + vae


def test_guidance_doubles_prompts_and_steps_but_decodes_no_image_more() -> None:
    plain, guided = (named_workload("sd15-pipeline", guidance=on) for on in (False, True))
    ratio = {phase: guided.macs(phase) / plain.macs(phase) for phase in plain.phases}
    assert ratio == {"text": 2, "denoise": 2, "decode_image": 1}


def test_the_image_size_reaches_unet_and_autoencoder() -> None:
    workload = named_workload("lcm-sd15-pipeline:image=256x128,batch=3")
    shape = {"image": (256, 128), "batch": 3}
    assert workload.macs("denoise") == named_workload("lcm-sd15", **shape).macs("denoise")
    assert workload.macs("decode_image") == named_workload("sd15-vae-decoder", **shape).macs("forward")
    assert workload.macs("text") == named_workload("clip-l-text", batch=3).macs("forward")


def test_sdxl_reads_its_prompt_with_two_encoders() -> None:
    workload = named_workload("lcm-sdxl-pipeline")
    prefixes = dict.fromkeys(layer.partition(".")[0] for layer in workload.layers)
    assert list(prefixes) == ["text", "text_2", "unet", "vae"]
    assert workload.repeats["denoise"] == 4
    encoders = [named_workload(n).macs() for n in ("clip-l-text", "openclip-bigg-text")]
    assert workload.macs("text") == sum(encoders)


def test_inpainting_encodes_the_masked_image_first() -> None:
    workload = named_workload("sd15-inpaint-pipeline")
    assert workload.phases == ("text", "encode_image", "denoise", "decode_image")
    (conv_in,) = (op for op in workload.operators if op.layer == "unet.conv_in")
    assert conv_in.k == 9 * 3 * 3


def test_a_part_takes_formats_of_its_own_and_the_cost_has_its_phases() -> None:
    workload = named_workload("lcm-sd15-pipeline:image=64")
    pairs = {name: "int4_g32:int8" if name.startswith("unet.") else "int8" for name in workload.layers}
    kinds = workload.layer_kinds()
    chosen = {n: LayerFormats.of_pair(FormatPair.parse(p), attention=kinds[n] == "attention") for n, p in pairs.items()}
    result = cost(workload, load_accelerator("phone-npu-large"), Assignment.of(chosen))
    assert list(result.latency_per_pass_s) == ["text", "denoise", "decode_image"]
    by_layer = {layer.name: layer.pair for layer in result.layers}
    assert by_layer["unet.conv_in"] == "int4_g32:int8"
    assert by_layer["vae.conv_in"] == "int8:int8"


def test_a_bad_option_names_the_pipeline() -> None:
    with pytest.raises(InputError, match=r"sdxl-pipeline: image: .* nearest: 1024"):
        named_workload("sdxl-pipeline:image=1022")
