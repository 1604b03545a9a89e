"""Small workloads and accelerators that the tests of this package share."""

from __future__ import annotations

from dataclasses import replace

from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware import Accelerator
from codesign.workload.types import Operator, Workload

INT8 = FormatPair("int8", "int8")
W4A8 = FormatPair("int4_g32", "int8")
BF16 = FormatPair("bf16", "bf16")
FP8 = FormatPair("fp8_e4m3", "fp8_e4m3")


def linear(layer: str, m: int, n: int, k: int, phase: str = "forward") -> Operator:
    return Operator(layer, "linear", phase, m, n, k, 1, m * k, n * k, m * n)


def attention(layer: str, tokens: int, keys: int, width: int, heads: int, phase: str) -> tuple[Operator, Operator]:
    cached = keys - tokens if phase == "decode" else 0
    kv = {
        "kv_read_elements": cached * width * heads,
        "kv_write_elements": tokens * width * heads if phase == "decode" else 0,
    }
    wide, scores, stored = tokens * width * heads, tokens * keys * heads, keys * width * heads
    return (
        Operator(layer, "attention_qk", phase, tokens, keys, width, heads, wide, stored, scores, **kv),
        Operator(layer, "attention_pv", phase, tokens, width, keys, heads, scores, stored, wide, **kv),
    )


def decoder() -> Workload:
    """A decoder layer and a head, prefill of 24 tokens and 16 tokens of decoding."""
    operators = []
    for phase, tokens in (("prefill", 24), ("decode", 1)):
        operators += [linear("up", tokens, 256, 64, phase), linear("down", tokens, 64, 256, phase)]
        operators += attention("attention", tokens, 24 if phase == "prefill" else 40, 16, 4, phase)
        operators += [linear("head", 1, 512, 64, phase)]
    return Workload("decoder", tuple(operators), {"prefill": 1, "decode": 16}, 70_000)


def unet() -> Workload:
    """Three convolutions, a linear layer and an attention layer, four steps."""
    conv = Operator("conv_in", "conv", "denoise", 4096, 64, 27, 1, 4096 * 3, 64 * 27, 4096 * 64)
    operators = (
        conv,
        replace(
            conv,
            layer="mid",
            m=1024,
            n=128,
            k=576,
            input_elements=4096 * 64,
            stationary_elements=73728,
            output_elements=1024 * 128,
        ),
        replace(
            conv,
            layer="deep",
            m=1024,
            n=128,
            k=1152,
            input_elements=1024 * 128,
            stationary_elements=147456,
            output_elements=1024 * 128,
        ),
        linear("time", 1, 128, 64, "denoise"),
        *attention("attention", 256, 256, 32, 4, "denoise"),
    )
    return Workload("unet", operators, {"denoise": 4}, 240_000)


def chip(*pairs: FormatPair, **changes: object) -> Accelerator:
    fields = {
        "name": "chip",
        "accumulator": "auto",
        "dot": 16,
        "rows": 8,
        "columns": 8,
        "sram_bytes": 256 * 1024,
        "dram": "lpddr5x_8533",
        "dram_channels": 1,
        "clock_hz": 1e9,
        "node_nm": 7,
    }
    return Accelerator(pairs=pairs or (INT8,), **(fields | changes))


def uniform(workload: Workload, pair: FormatPair) -> Assignment:
    kinds = workload.layer_kinds()
    return Assignment.of({n: LayerFormats.of_pair(pair, attention=kinds[n] == "attention") for n in workload.layers})
