"""The layers of the comparison with ZigZag, in our words and in its own, on an array of ROWS x COLUMNS units of DOT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codesign.workload.types import Operator

ROWS, COLUMNS, DOT = 16, 16, 32


@dataclass(frozen=True)
class Layer:
    """An operator of ours, the same in ZigZag's words, and its spatial mappings."""

    title: str
    operator: Operator
    zigzag: dict[str, Any]
    spatial: dict[str, dict[str, list[str]]]


def operator(kind: str, m: int, n: int, k: int, sizes: Sequence[int]) -> Operator:
    return Operator("layer", kind, "forward", m, n, k, 1, *sizes)


def words(name: str, kind: str, equation: str, loops: dict[str, int], **more: Any) -> dict[str, Any]:
    """A layer of ZigZag: 8-bit operands and results, 32-bit sums."""
    return {
        "id": 0,
        "name": name,
        "operator_type": kind,
        "equation": equation,
        "dimension_relations": [],
        "loop_dims": list(loops),
        "loop_sizes": list(loops.values()),
        "operand_precision": {"W": 8, "I": 8, "O": 32, "O_final": 8},
        "operand_source": {"I": 0, "W": 0},
    } | more


def gemm(title: str, m: int, k: int, n: int) -> Layer:
    across = {"D2": [f"K, {COLUMNS}"], "D3": [f"C, {DOT}"]}
    zigzag = words("gemm", "Gemm", "O[d][k]+=I[d][c]*W[c][k]", {"C": k, "D": m, "K": n})
    ours = operator("linear", m, n, k, (m * k, k * n, m * n))
    rows = {"output-stationary": [f"D, {min(ROWS, m)}"], "weight-stationary": [f"C, {min(ROWS, k // DOT)}"]}
    return Layer(title, ours, zigzag, {stays: across | {"D1": first} for stays, first in rows.items()})


def conv(title: str, inputs: int, outputs: int, size: int, kernel: int) -> Layer:
    across = {"D2": [f"K, {COLUMNS}"], "D3": [f"C, {DOT}"]}
    zigzag = words(
        "conv",
        "Conv",
        "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        {"B": 1, "K": outputs, "G": 1, "OX": size, "OY": size, "C": inputs, "FX": kernel, "FY": kernel},
        dimension_relations=["ix=1*ox+1*fx", "iy=1*oy+1*fy"],
        operand_source={"W": 0},
        pr_loop_dims=["IX", "IY"],
        pr_loop_sizes=[size, size],
        padding=[[kernel // 2, kernel // 2]] * 2,
    )
    m, k = size * size, inputs * kernel * kernel
    ours = operator("conv", m, outputs, k, (m * inputs, k * outputs, m * outputs))
    rows = {"output-stationary": [f"OX, {ROWS}"], "weight-stationary": deep_rows(inputs, kernel)}
    return Layer(title, ours, zigzag, {stays: across | {"D1": first} for stays, first in rows.items()})


def deep_rows(inputs: int, kernel: int) -> list[str]:
    """The most of input channels and kernel columns that the rows can take without a remainder."""
    steps = inputs // DOT
    found = [(taps, c) for taps in (1, kernel) for c in range(1, steps + 1) if steps % c == 0 and taps * c <= ROWS]
    taps, channels = max(found, key=lambda pair: pair[0] * pair[1])
    return [f"C, {channels}"] + ([f"FX, {taps}"] if taps > 1 else [])


LAYERS = (
    conv("3x3 convolution 320 to 320, 64x64", 320, 320, 64, 3),
    gemm("GEMM 256x768x3072", 256, 768, 3072),
    gemm("GEMV 1x4096x4096", 1, 4096, 4096),
)
