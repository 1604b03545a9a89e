"""The named networks against published parameter counts and torch's count of their arithmetic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.workload import Workload, named_workload, workload_names

# name -> parameters, 10^9 multiply-accumulates of one pass of the phase (FlopCounterMode / 2 on the
# public model code: diffusers and transformers; attention in full, logits of every token)
PUBLISHED = {
    "sd15-unet": (859_520_964, "denoise", 401.637),
    "lcm-sd15": (859_520_964, "denoise", 401.637),
    "sd15-vae-decoder": (49_490_179, "forward", 1257.259),
    "clip-l-text": (123_060_480, "forward", 6.649),
    "llama2-7b": (6_738_415_616, "prefill", 3451.543),
    "llama3.2-1b": (1_235_814_400, "prefill", 649.882),
    "llama3.1-8b": (8_030_261_248, "prefill", 3911.105),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(name: str) -> None:
    parameters, phase, giga_macs = PUBLISHED[name]
    workload = named_workload(name)
    assert workload.parameters == parameters
    assert workload.macs(phase) / 1e9 == pytest.approx(giga_macs, rel=1e-3)


@pytest.mark.slow
def test_sdxl_and_llama2_13b_have_their_published_parameters() -> None:
    assert named_workload("sdxl-unet").parameters == 2_567_463_684
    assert named_workload("llama2-13b").parameters == 13_015_864_320


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
        *("sd15-unet", "lcm-sd15", "sdxl-unet", "sd15-vae-decoder", "clip-l-text"),
        *("llama2-7b", "llama3.2-1b"),
    } <= set(workload_names())
