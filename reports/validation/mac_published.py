"""Published ratios of areas of compute units, and what of ours stands against each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.units.unit_model import SHIPPED, SHIPPED_7NM

# node -> (its library, a clock at which nothing is pipelined: the areas that publications of single units compare)
LIBRARIES = {
    7.0: ("asap7", SHIPPED_7NM, 0.05),
    130.0: ("sg13g2", SHIPPED[130.0], 0.02),
    180.0: ("osu018", SHIPPED[180.0], 0.01),
}


def area(pairs: str, accumulator: str, dot: int, node: float = 7.0, clock_ghz: float = 0.0) -> float:
    """um2; pairs: joined by +; not pipelined without a clock."""
    parsed = tuple(map(FormatPair.parse, pairs.split("+")))
    return MacUnit(parsed, accumulator, dot, node, clock_ghz or LIBRARIES[node][2]).area_um2.value


@dataclass(frozen=True)
class Published:
    """A published ratio, what of ours stands against it, and why it is off where it is."""

    name: str
    value: float
    tolerance: float
    source: str
    unit: str
    ours: Callable[[float], float]  # by node
    reason: str = ""


PUBLISHED = (
    Published(
        "FP8 E4M3 / INT8, dot-32",
        1.126,
        0.10,
        "FormatScope, sky130 synthesis",
        "window of 18 bits, FP32 sum with subnormals, rounded to nearest even; INT8 with INT32",
        lambda node: area("fp8_e4m3", "aligned18", 32, node) / area("int8", "int32", 32, node),
        "the source does not say how many bits its aligned sum keeps; see the windows below",
    ),
    Published(
        "INT8 / INT4, dot-32",
        3.56,
        0.15,
        "FormatScope, sky130 synthesis",
        "32-bit and 24-bit accumulators",
        lambda node: area("int8", "int32", 32, node) / area("int4", "int24", 32, node),
    ),
    Published(
        "FP8 E4M3 / INT8, single MAC, FP16 accumulator",
        1.53,
        0.25,
        "van Baalen et al. 2023, FP8 versus INT8",
        "INT8 with a 32-bit accumulator",
        lambda node: area("fp8_e4m3", "fp16", 1, node) / area("int8", "int32", 1, node),
    ),
    Published(
        "INT4 / INT8 with vector scales (VS-Quant W4A4)",
        0.63,
        0.15,
        "Dai et al. 2021, VS-Quant",
        "int4_g32 with FP32 at dot-32: one product of scales for each vector, as in the source",
        lambda node: area("int4_g32", "fp32", 32, node) / area("int8", "int32", 32, node),
    ),
    Published(
        "The same, at dot-16",
        0.63,
        0.15,
        "Dai et al. 2021, VS-Quant",
        "int4_g32 with FP32 at dot-16: a product of scales for every half of a block",
        lambda node: area("int4_g32", "fp32", 16, node) / area("int8", "int32", 16, node),
        "the vectors of the source have 16 elements, but scales are integers of 4 to 6 bits and sums stay integers: "
        "our unit multiplies two FP16 scales and adds in FP32, twice as often for each product as at dot-32",
    ),
    Published(
        "MSFP16 density / FP32",
        8.8,
        0.25,
        "Rouhani et al. 2020, MSFP",
        "area a product of one FP32 MAC over mxint8 (an 8-bit significand, a shared 8-bit exponent) at dot-8",
        lambda node: area("fp32", "fp32", 1, node) * 8 / area("mxint8", "fp32", 8, node),
    ),
    Published(
        "The same, at dot-16",
        8.8,
        0.25,
        "Rouhani et al. 2020, MSFP",
        "mxint8 at dot-16",
        lambda node: area("fp32", "fp32", 1, node) * 16 / area("mxint8", "fp32", 16, node),
        "more products share one FP32 sum, while the FP32 MAC of the generator keeps subnormals of operands and sums, "
        "which a baseline that flushes them does not pay for",
    ),
    Published(
        "ExSdotp / two ExFMA",
        0.70,
        0.15,
        "Bertaccini et al. 2022, GF12",
        "two FP16 products and an FP32 sum in one unit, over two units",
        lambda node: area("fp16", "fp32", 2, node) / 2 / area("fp16", "fp32", 1, node),
        "",
    ),
    Published(
        "INT8 / FP16 compute density of an NPU",
        2.0,
        0.15,
        "Samsung 4 nm 8k-MAC NPU: 3.45 TOPS/mm2 and 1.72 TFLOPS/mm2",
        "FP16 with FP32 over INT8 with INT32, units of one format each, dot-16",
        lambda node: area("fp16", "fp32", 16, node) / area("int8", "int32", 16, node),
        "the chip runs both formats on one array, INT8 at twice the rate: its ratio is that of the rates, the area is "
        "the same. Units of one format each differ by what the formats need, and a chip's memories and wires, "
        "which both formats share, dilute the difference",
    ),
)
