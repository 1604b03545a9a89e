"""What can be asked of a named network, and what it changes."""

from __future__ import annotations

from typing import Any

import pytest

from codesign.errors import InputError
from codesign.workload import Workload, named_workload
from codesign.workload.catalogue import request


def conv_macs(workload: Workload) -> int:
    return sum(op.macs for op in workload.operators if op.kind == "conv")


def attention_macs(workload: Workload, phase: str) -> int:
    return sum(op.macs for op in workload.operators if op.is_attention and op.phase == phase)


# ---- spelling -----------------------------------------------------------------------------------------------------


def test_options_are_spelled_behind_the_name_or_given_as_keywords() -> None:
    written = named_workload("sd15-unet:image=256x192,steps=20,guidance=on")
    assert written == named_workload("sd15-unet", image=(256, 192), steps=20, guidance=True)
    assert written == named_workload("sd15-unet:image=256x192", steps="20", guidance="on")


def test_a_workload_carries_the_shortest_spelling_of_its_options() -> None:
    assert request("sd15-unet:steps=50,image=512x512", {}).spelling == "sd15-unet"
    assert request("sd15-unet", {"image": [768, 512], "guidance": True}).spelling == (
        "sd15-unet:image=768x512,guidance=on"
    )
    workload = named_workload("clip-l-text:batch=2,prompt=77")
    assert workload.name == "clip-l-text:batch=2"
    assert named_workload(workload.name) == workload


# ---- what they change ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sd15-unet:image=128", "sd15-vae-decoder", "clip-l-text", "imdn-x4", "qwen2.5-0.5b"])
def test_twice_the_batch_is_twice_the_macs_and_the_same_weights(name: str) -> None:
    one, two = named_workload(name), named_workload(name, batch=2)
    assert {p: two.macs(p) for p in two.phases} == {p: 2 * one.macs(p) for p in one.phases}
    assert two.parameters == one.parameters
    assert two.layers == one.layers


@pytest.mark.parametrize("name", ["sd15-unet", "sd15-vae-decoder", "sd15-vae-encoder", "edsr-baseline-x4"])
def test_twice_the_side_of_an_image_is_four_times_its_convolutions(name: str) -> None:
    small, large = named_workload(name, image=256), named_workload(name, image=512)
    assert conv_macs(large) == 4 * conv_macs(small)


def test_attention_to_pixels_grows_with_the_square_of_the_area() -> None:
    macs = [attention_macs(named_workload("sd15-vae-decoder", image=side), "forward") for side in (256, 512)]
    assert macs[1] == 16 * macs[0]


def test_height_comes_first() -> None:
    workload = named_workload("sd15-vae-decoder:image=64x32")
    (first, *_) = workload.operators
    assert first.m == 8 * 4
    wide = named_workload("imdn-x4:image=6x10")
    assert wide.operators[0].m == 60


def test_an_image_need_not_halve_evenly() -> None:
    """97 x 63 latents, counted with FlopCounterMode / 2 on diffusers' U-Net."""
    workload = named_workload("sd15-unet", image=(97 * 8, 63 * 8))
    assert workload.macs("denoise") / 1e9 == pytest.approx(658.066, rel=1e-5)


def test_guidance_denoises_two_prompts_for_each_image() -> None:
    plain, guided = named_workload("sd15-unet"), named_workload("sd15-unet", guidance=True)
    assert guided.macs("denoise") == 2 * plain.macs("denoise")
    assert guided == named_workload("sd15-unet:guidance=on")


def test_steps_repeat_the_denoising_pass() -> None:
    plain, fast = named_workload("sd15-unet"), named_workload("sd15-unet:steps=7")
    assert fast.operators == plain.operators
    assert fast.repeats == {"denoise": 7}


@pytest.mark.slow
def test_a_longer_prompt_costs_its_linears_in_proportion_and_its_attention_in_square() -> None:
    short, long = named_workload("qwen2.5-0.5b:prompt=100"), named_workload("qwen2.5-0.5b:prompt=200")
    assert attention_macs(long, "prefill") == 4 * attention_macs(short, "prefill")
    linears = [w.macs("prefill") - attention_macs(w, "prefill") for w in (short, long)]
    assert linears[1] == 2 * linears[0]


def test_new_tokens_are_decode_passes_in_the_middle_of_the_reply() -> None:
    workload = named_workload("llama3.2-1b:prompt=100,new_tokens=60")
    assert workload.repeats == {"prefill": 1, "decode": 60}
    assert {op.n for op in workload.operators if op.phase == "decode" and op.kind == "attention_qk"} == {130}


def test_context_beyond_prompt_and_reply_is_history_that_both_phases_read() -> None:
    workload = named_workload("llama3.2-1b:prompt=100,new_tokens=60,context=1000")
    found = {(op.phase, op.m, op.n) for op in workload.operators if op.kind == "attention_qk"}
    assert found == {("prefill", 100, 970), ("decode", 1, 1000)}
    written = sum(op.kv_write_elements for op in workload.operators if op.phase == "prefill")
    assert written == 2 * 16 * 8 * 64 * 100


def test_every_other_layer_of_gemma_reads_its_window_only() -> None:
    workload = named_workload("gemma-2-2b:context=8192")
    read = {op.layer: op.n for op in workload.operators if op.phase == "decode" and op.kind == "attention_qk"}
    assert [read[f"layers.{i}.self_attn"] for i in range(4)] == [4096, 8192, 4096, 8192]


# ---- mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sd15-unet", {"imag": 512}, "sd15-unet has no option 'imag'; did you mean 'image'?"),
        ("sd15-unet", {"prompt": 5}, "sd15-unet has no option 'prompt'; valid: batch, guidance, image, steps"),
        ("sd15-unet", {"image": 770}, "image: .* multiples of 8, not '770'; nearest: 768"),
        ("sd15-unet", {"image": "513x760"}, "not '513x760'; nearest: 512x760"),
        ("sd15-unet", {"image": 0}, "not '0'; nearest: 8"),
        ("sd15-unet", {"image": -64}, "not '-64'; nearest: 8"),
        ("sd15-unet", {"image": 100_000}, "nearest: 8192"),
        ("sd15-unet", {"image": "large"}, r"as 768 or 768x512 \(height x width\), not 'large'"),
        ("sd15-unet", {"image": (512, 512, 3)}, "not '512x512x3'"),
        ("sd15-unet", {"image": 51.2}, "not '51.2'"),
        ("sd15-unet", {"steps": 0}, "steps: expected a whole number from 1 to 1000, not '0'; nearest: 1"),
        ("sd15-unet", {"steps": 1001}, "nearest: 1000"),
        ("sd15-unet", {"steps": "many"}, "not 'many'$"),
        ("sd15-unet", {"batch": True}, "not 'True'"),
        ("sd15-unet", {"guidance": "7.5"}, "guidance: expected on or off, not '7.5'"),
        ("clip-l-text", {"prompt": 78}, "from 1 to 77, not '78'; nearest: 77"),
        ("imdn-x4", {"image": "0x5"}, "image: expected 1 to 8192 pixels a side, not '0x5'; nearest: 1x5"),
        ("llama2-7b", {"new_tokens": -1}, "new_tokens: .* nearest: 1"),
        ("llama2-7b", {"context": 575}, "context: expected at least 576 tokens .* nearest: 576"),
        ("llama2-7b:prompt=2", {"prompt": 3}, "llama2-7b: option 'prompt' is given twice"),
        ("llama2-7b:prompt=2,prompt=2", {}, "llama2-7b: option 'prompt' is given twice"),
        ("llama2-7b:prompt", {}, "expected llama2-7b:OPTION=VALUE,OPTION=VALUE, not 'llama2-7b:prompt'"),
        ("llama2-7b:", {}, "not 'llama2-7b:'"),
        ("llama2-8b:prompt=2", {}, "unknown network 'llama2-8b'; did you mean 'llama2"),
    ],
)
def test_a_mistake_is_one_line_with_the_nearest_valid_value(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        named_workload(name, **options)
    assert "\n" not in str(caught.value)
