"""Units of formats of the grammar compute what their twin computes, and what the quantizer's numbers are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from codesign.errors import InputError
from codesign.formats import FormatPair, get_format
from codesign.formats.enumerated import drawn
from codesign.hardware import MacUnit
from codesign.hardware.arithmetic.overflow import required_bits
from codesign.hardware.rtl import Twin, Unit, build
from codesign.hardware.rtl.analyse.elaborate import gates
from codesign.hardware.rtl.analyse.gates import REGISTER
from codesign.hardware.rtl.emit.lookup import lookup
from codesign.hardware.rtl.emit.verilog import Module
from codesign.hardware.rtl.verify.bench import Check
from codesign.hardware.rtl.verify.codes import OperandCodes, scale_steps, stepped
from codesign.hardware.rtl.verify.simulate import SIMULATORS, available, simulate
from codesign.hardware.rtl.verify.vectors import verification

DRAWN = drawn(12, 5, bits=(3, 6))
PAIRS = [*DRAWN, "lns6_i3f2:lns4_i2f1", "lns4_i2f1:int8", "nf4_g16_s2u4:fp8_e4m3", "fp4_e3m0:nf4"]


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("simulator", SIMULATORS)
def test_drawn_formats_match_their_twin_in_both_simulators(simulator: str, tmp_path: Path) -> None:
    if not available(simulator):
        pytest.skip(f"{simulator} is not installed")
    units = [Unit((FormatPair.parse(pair),), "auto", 1 if pair in DRAWN[::2] else 4) for pair in PAIRS]
    shared = ("int8", "lns6_i3f2:int8", "nf4:int8")
    units.append(Unit(tuple(map(FormatPair.parse, shared))))
    checks, sources = [], {}
    for place, unit in enumerate(units):
        built = build(unit, f"unit{place}")
        checks += [Check(built, f"unit{place}", verification(unit, mode, pairs=600)) for mode in range(len(unit.modes))]
        sources[f"unit{place}.v"] = built.text
    verdicts = simulate(simulator, checks, sources, tmp_path)
    assert [verdict.wrong for verdict in verdicts] == [0] * len(checks)


SUMMED = [(name, "auto") for name in [*DRAWN, "nf4_g16_s2u4", "fp4_e3m0"] if not name.startswith("lns")]


@pytest.mark.parametrize(("name", "accumulator"), [*SUMMED, ("int4_g16_s2u4", "int32"), ("nf4_g16_s2u6", "int48")])
def test_a_sum_of_few_exact_products_is_that_of_the_quantized_numbers(name: str, accumulator: str) -> None:
    fmt = get_format(name)
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    block = (fmt.scaling.block or 0) if fmt.scaling else 0
    w, a = (OperandCodes.of(fmt, row[None], None, True, block) for row in x)
    twin = Twin(FormatPair(name, name), accumulator, 1)
    codes = (stepped(part.codes, 1)[..., None] for part in (w, a))
    scales = (None if part.scale_codes is None else scale_steps(part, 1)[..., None] for part in (w, a))
    steps = np.arange(w.codes.shape[1]) == 0
    found = twin.value(twin.run(*codes, steps, *scales)[-1]) * w.outer * a.outer
    expected = fmt.fake_quantize(x[:1], -1).double() @ fmt.fake_quantize(x[1:], -1).double().T
    assert found == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-6)


def test_the_product_of_two_logarithms_is_within_half_a_step_of_its_antilogarithm() -> None:
    element = get_format("lns6_i3f2").element
    codes = np.arange(64)
    w, a = np.repeat(codes, 64)[None, None], np.tile(codes, 64)[None, None]
    twin = Twin(FormatPair.parse("lns6_i3f2"), "fp32", 1)
    found = twin.value(twin.run(w, a, np.array([True]))[-1])
    values = element.decode(torch.from_numpy(codes)).double().numpy()
    expected = np.outer(values, values).reshape(-1)
    assert np.allclose(found, expected, rtol=3 * 2.0**-7, atol=0)


@pytest.mark.parametrize("pair", ["lns6_i3f2", "lns4_i2f1:lns6_i3f2", "nf4", "fp6_e3m2_flush", "fp5_e4m0"])
def test_an_exact_accumulator_holds_as_many_of_the_largest_products_as_it_claims(pair: str) -> None:
    parsed, k = FormatPair.parse(pair), 9
    bits = required_bits(parsed, k)
    largest = []
    for name in (parsed.weight, parsed.activation):
        element = get_format(name).element
        values = element.decode(element.codes())
        largest.append(int(element.codes()[values.nan_to_num().abs().argmax()]))
    w, a = (np.full((1, k, 1), code) for code in largest)
    narrow, wide = (Twin(parsed, "exact", k, bits=width) for width in (bits, bits + 20))
    assert narrow.run(w, a, np.array([True])).tolist() == wide.run(w, a, np.array([True])).tolist()


def test_blocks_that_do_not_fit_into_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="blocks of 16 and of 24 do not fit"):
        Unit((FormatPair("int4_g16", "int8_g24"),))


def test_an_adder_of_logarithms_is_smaller_than_a_multiplier_of_their_antilogarithms() -> None:
    assert MacUnit(("lns6_i3f2",), dot=8).area_um2.value < MacUnit(("lns6_i3f2:fp6_e3m2",), dot=8).area_um2.value


def test_a_table_of_one_function_of_an_input_takes_no_cell() -> None:
    m = Module("table")
    m.register(lookup(m, m.input("index", 3), [0, 0, 0, 0, 1, 1, 1, 1], 1))
    assert gates(m.assignments).kind.max() == REGISTER
