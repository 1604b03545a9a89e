"""The named networks against published parameter counts and torch's count of their arithmetic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.workload import Workload, named_workload, workload_names
from codesign.workload.catalogue import catalogue

# name -> phase, 10^9 multiply-accumulates of one pass, counted by torch's FlopCounterMode / 2 on the public model
# code (diffusers 0.42, transformers 5.23): attention in full, logits of every token; * the paper's own count
COUNTED = {
    "sd15-unet": ("denoise", 401.637),
    "lcm-sd15": ("denoise", 401.637),
    "sd15-inpaint-unet": ("denoise", 401.696),
    "sdxl-unet": ("denoise", 3380.618),
    "lcm-sdxl": ("denoise", 3380.618),
    "clip-l-text": ("forward", 6.649),
    "openclip-bigg-text": ("forward", 48.932),
    "sd15-vae-decoder": ("forward", 1257.259),
    "sd15-vae-encoder": ("forward", 558.329),
    "sdxl-vae-decoder": ("forward", 5235.196),
    "edsr-x4": ("forward", 2895.8),  # *
    "imdn-x4": ("forward", 40.9),  # *
    "llama2-7b": ("prefill", 3451.543),
    "llama3.1-8b": ("prefill", 3911.105),
    "llama3.2-1b": ("prefill", 649.882),
    "llama3.2-3b": ("prefill", 1689.935),
    "qwen2.5-0.5b": ("prefill", 264.182),
    "qwen2.5-7b": ("prefill", 3672.600),
    "gemma-2-2b": ("prefill", 1366.336),
    "gemma-2-9b": ("prefill", 4821.638),
}
PARAMETERS = {
    "sd15-unet": 859_520_964,
    "sdxl-unet": 2_567_463_684,
    "sd15-vae-decoder": 49_490_179,
    "clip-l-text": 123_060_480,
    "openclip-bigg-text": 694_659_840,
    "imdn-x4": 715_176,
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama3.1-8b": 8_030_261_248,
    "llama3.2-1b": 1_235_814_400,
    "llama3.2-3b": 3_212_749_824,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "gemma-2-2b": 2_614_341_888,
    "gemma-2-9b": 9_241_705_984,
    "mixtral-8x7b": 46_702_792_704,
    "olmoe-1b-7b": 6_919_161_856,
}
LANGUAGE_MODELS = tuple(name for name, entry in catalogue().items() if entry.kind == "language-model")


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTED)
def test_macs_are_those_of_the_public_model_code(name: str) -> None:
    phase, giga_macs = COUNTED[name]
    assert named_workload(name).macs(phase) / 1e9 == pytest.approx(giga_macs, rel=1e-3)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name: str) -> None:
    assert named_workload(name).parameters == PARAMETERS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", workload_names())
def test_the_catalogue_says_what_a_trace_counts(name: str) -> None:
    entry, workload = catalogue()[name], named_workload(name)
    assert entry.parameters == workload.parameters
    assert list(entry.gmacs) == list(workload.phases) == list(workload.repeats)
    assert {p: workload.macs(p) / 1e9 for p in workload.phases} == pytest.approx(entry.gmacs, rel=1e-3)


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_a_decode_pass_multiplies_the_weights_that_it_reads_once(name: str) -> None:
    config = catalogue()[name].config
    decode = [op for op in named_workload(name).operators if op.phase == "decode"]
    attention = 2 * config.layers * config.heads * config.head_width * 576
    assert sum(op.macs for op in decode if op.is_attention) == attention
    assert sum(op.macs for op in decode if not op.is_attention) == sum(
        op.stationary_elements for op in decode if not op.is_attention
    )


def weight_layers(workload: Workload) -> set[str]:
    return {op.layer for op in workload.operators if not op.is_attention}


def test_sd15_has_282_convolutions_and_linears_under_their_usual_names() -> None:
    layers = weight_layers(named_workload("sd15-unet"))
    assert len(layers) == 282
    assert {
        "conv_in",
        "down_blocks.0.resnets.0.conv1",
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
        "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj",
        "up_blocks.1.resnets.2.conv_shortcut",
        "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0",
    } <= layers


@pytest.mark.slow  # a fresh process: most of its time is the import of torch
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
def test_sd15_is_traced_in_less_than_a_gigabyte() -> None:
    code = (
        "from codesign.workload import named_workload; named_workload('sd15-unet');"
        "print(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    )
    # not ru_maxrss: a child process inherits that of the process which started it
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(output) < 1_000_000  # KiB


def test_the_latent_consistency_model_is_the_same_network_in_four_steps() -> None:
    full, fast = named_workload("sd15-unet"), named_workload("lcm-sd15")
    assert fast.operators == full.operators
    assert full.repeats == {"denoise": 50}
    assert fast.repeats == {"denoise": 4}


def test_llama_decodes_from_a_cache_of_its_few_key_heads() -> None:
    workload = named_workload("llama3.2-1b")
    assert workload.phases == ("prefill", "decode")
    assert workload.repeats == {"prefill": 1, "decode": 128}
    attention = [op for op in workload.operators if op.phase == "decode" and op.is_attention]
    per_token = 2 * 16 * 8 * 64  # key and value, layers, heads of keys, width
    assert sum(op.kv_write_elements for op in attention) == per_token
    assert sum(op.kv_read_elements for op in attention) == per_token * 575
    assert {op.m for op in attention} == {1}


def test_a_tied_output_projection_is_still_a_product() -> None:
    (head,) = (op for op in named_workload("llama3.2-1b").operators if op.layer == "lm_head" and op.phase == "decode")
    assert (head.m, head.n, head.k) == (1, 128256, 2048)


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown network 'sd15_unet'; did you mean 'sd15-unet'"):
        named_workload("sd15_unet")


def test_the_door_names_stand() -> None:
    assert {
        *("sd15-unet", "lcm-sd15", "sdxl-unet", "lcm-sdxl", "sd15-inpaint-unet", "sd15-vae-decoder", "clip-l-text"),
        *("llama2-7b", "llama2-13b", "llama3.2-1b", "llama3.1-8b"),
    } <= set(workload_names())
