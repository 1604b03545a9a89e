"""Whole matrix products in a unit's arithmetic: bit for bit those of the twin, which is checked against the Verilog."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.formats import FormatPair, get_format
from codesign.hardware.rtl.emit.array import array
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.verify.array_bench import ArrayCheck, InTurn, Matrices
from codesign.hardware.rtl.verify.bench import Trace
from codesign.hardware.rtl.verify.codes import OperandCodes
from codesign.hardware.rtl.verify.products import Codes, Products
from codesign.hardware.rtl.verify.simulate import simulate
from codesign.hardware.rtl.verify.twin import Floats, Twin
from tests.programs import needed

CASES = [
    ("int8", "auto", 4),  # exact
    ("int8", "int12", 4),  # wraps
    ("int8", "int12_sat", 4),
    ("int8", "int32_sat", 4),  # wide enough
    ("int8_zp:int8_zp", "fp16", 16),
    ("int4_g32:int8", "auto", 16),
    ("int4_g32:fp8_e4m3", "fp16", 64),  # two groups of a step
    ("int4_g16_s2u4", "int24", 32),  # integer scales, integer sums
    ("int4_g16_s2u4:int8", "int12", 16),  # that wrap
    ("fp8_e4m3", "exact", 16),
    ("fp8_e4m3", "auto", 16),  # aligned, fp32
    ("fp8_e5m2", "aligned16", 1),  # no sum within a step
    ("fp8_e5m2", "exact", 4),  # sums beyond float64, by the twin itself
    ("mxfp8_e4m3", "auto", 64),
    ("mxfp4:mxfp8_e4m3", "auto", 8),
    ("nvfp4", "fp16", 64),  # saturates
    ("bf16", "auto", 16),
    ("fp16", "fp16", 16),  # drops bits of products
    ("fp32", "fp32", 4),  # whose codes are too many for a table
]


def operand(name: str, batch: int, rows: int, block: int, random: np.random.Generator) -> Codes:
    found = []
    for _ in range(batch):
        spread = np.exp(random.standard_normal((rows, 72)))
        x = torch.from_numpy((random.standard_normal((rows, 72)) * spread).astype(np.float32))
        found.append(OperandCodes.of(get_format(name), x, None, True, block))
    scales = (
        None if found[0].scale_codes is None else np.stack([f.scale_codes for f in found if f.scale_codes is not None])
    )
    return Codes(np.stack([each.codes for each in found]), scales)


def same_bits(a: Floats, b: Floats) -> bool:
    return bool((a.view(np.int64) == b.view(np.int64)).all())


@pytest.mark.slow
@pytest.mark.parametrize(("pair", "accumulator", "lanes"), CASES)
def test_every_accumulator_has_the_bits_of_the_twin(pair: str, accumulator: str, lanes: int) -> None:
    twin, random = Twin(FormatPair.parse(pair), accumulator, lanes), np.random.default_rng(0)
    block = max(twin.mode.weight.block, twin.mode.activation.block)
    weight = operand(twin.mode.pair.weight, 1, 9, block, random)
    activation = operand(twin.mode.pair.activation, 2, 7, block, random)
    products = Products(twin)
    found = products(weight, activation)
    assert found.shape == (2, 7, 9)
    assert same_bits(found, products.by_twin(weight, activation))


def test_sums_beyond_24_and_53_bits_stay_exact() -> None:
    twin = Twin(FormatPair.parse("int16"), "int64", 4)
    most = np.full((1, 2, 5000), 2**15 - 1)
    found = Products(twin)(Codes(most), Codes(most))
    assert found.tolist() == [[[5000.0 * (2**15 - 1) ** 2] * 2] * 2]
    narrow = Twin(FormatPair.parse("int8"), "int32", 4)
    odd = np.full((1, 1, 3001), 127)
    assert Products(narrow)(Codes(odd), Codes(odd)).item() == 3001 * 127**2


class Given:
    """A check whose trace was changed."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def trace(self) -> Trace:
        return self._trace


def test_products_in_turn_in_two_modes_are_compared_to_the_last_bit(tmp_path: Path) -> None:
    needed("iverilog")
    cells = array(Unit((FormatPair.parse("fp8_e4m3"), FormatPair.parse("int8")), "auto", 2), 2, 2, "output")
    draw = np.random.default_rng(0).integers
    checks = [ArrayCheck(cells, mode, Matrices(draw(0, 64, (5, 2, 2)), draw(0, 64, (5, 2, 2)))) for mode in (0, 1, 0)]
    trace = InTurn(tuple(checks)).trace()
    assert trace.compared is not None
    compared = np.flatnonzero(trace.compared)
    expected = trace.expected.copy()
    expected[compared[[0, len(compared) // 2, -1]], 0] ^= 1  # of every product
    sources = {"array.v": cells.text, "unit.v": cells.built.text}
    right, wrong = (Given(each) for each in (trace, replace(trace, expected=expected)))
    verdicts = simulate("iverilog", [right, wrong], sources, tmp_path)
    assert [(each.steps, each.wrong) for each in verdicts] == [(len(compared), 0), (len(compared), 3)]
