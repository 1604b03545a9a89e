"""Verilog of units against the twin, in two simulators; the quick ones cover every kind of datapath."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from codesign.errors import EnvironmentProblem, InputError
from codesign.formats import FormatPair
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.emit.pipeline import STEPS
from codesign.hardware.rtl.verify.bench import Check
from codesign.hardware.rtl.verify.simulate import SIMULATORS, Verdict, simulate
from codesign.hardware.rtl.verify.vectors import verification
from tests.programs import needed

EVERY_STEP = frozenset(STEPS)
SINGLE = [
    ("int8", "int32", 1),
    ("int4:int8", "int24", 4),
    ("int8", "int16_sat", 2),
    ("int8", "int12_sat", 4),  # narrower than one step's sum
    ("fp8_e4m3", "exact40_sat", 2),
    ("int8_zp:int8", "auto", 2),
    ("int4:int16", "auto", 2),
    ("int8", "fp32", 2),
    ("fp8_e4m3", "fp32", 1),
    ("fp8_e4m3", "fp16", 1),
    ("fp8_e4m3", "exact", 4),
    ("fp8_e4m3", "aligned25", 4),
    ("fp8_e5m2", "aligned16", 4),
    ("fp4_e2m1", "fp32", 4),
    ("int4:fp8_e4m3", "auto", 4),
    ("fp4_e2m1:fp8_e4m3", "aligned16", 2),
    ("bf16", "fp32", 1),
    ("fp16", "fp16", 2),
    ("fp32", "fp32", 1),
    pytest.param("fp32", "fp32", 2, marks=pytest.mark.long),
    ("mxfp8_e5m2", "fp32", 2),
    ("mxfp4", "fp32", 4),
    ("mxint8", "fp32", 2),
    ("nvfp4", "fp32", 4),
    pytest.param("nvfp4", "fp32", 32, marks=pytest.mark.long),
    ("int4_g32:int8", "auto", 2),
    ("int4_g32", "fp32", 2),
    ("int4_g16_s2u4", "int24", 16),  # integer scales, integer sums
    ("int4_g16_s2u4:int8", "int18_sat", 32),  # two blocks of one operand
    ("int5_g16_s2u3:int4_g8_s2u4", "int20", 16),  # a block beside two
]
SHARED = [
    (("int8", "int4:int8", "int4"), (1, 2, 4), "auto", 2),
    (("int8", "fp8_e4m3"), (1, 1), "auto", 2),
    (("int8", "fp8_e4m3"), (1, 1), "exact", 2),
    (("int8", "int4"), (1, 4), "int18_sat", 1),
    # beside a floating-point accumulator
    pytest.param(("int16", "int4_g32:int16"), (1, 1), "int32_sat", 2, marks=pytest.mark.long),
    (("int8", "int4", "fp8_e4m3"), (1, 4, 1), "auto", 1),
    (("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4"), (1, 1, 1), "auto", 2),
    pytest.param(("int8", "int4_g32:int8", "nvfp4:fp8_e4m3"), (1, 1, 1), "auto", 2, marks=pytest.mark.long),
    pytest.param(("fp16", "fp8_e4m3", "fp4_e2m1"), (1, 2, 4), "auto", 2, marks=pytest.mark.long),
    # as a tensor core has them
    pytest.param(
        ("fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1"), (1, 1, 2, 2, 4), "fp32", 1, marks=pytest.mark.long
    ),
    (("fp16", "fp8_e5m2"), (1, 2), "fp16", 1),
    (("mxfp8_e4m3", "mxfp4"), (1, 2), "auto", 2),
    (("int8", "fp8_e4m3", "fp4_e2m1"), (1, 1, 2), "exact", 1),
    # fast minifloats in a fixed-point sum of their own: beside integers, with scales, and of two widths
    (("int8", "fp8_e4m3", "fp4_e2m1"), (1, 1, 2), "auto", 2),
    pytest.param(("mxfp8_e4m3", "nvfp4"), (1, 2), "auto", 4, marks=pytest.mark.long),
    pytest.param(("fp16", "fp6_e2m3", "mxfp4"), (1, 2, 4), "auto", 2, marks=pytest.mark.long),
]


def unit(pairs: tuple[str, ...], accumulator: str, lanes: int, rates: tuple[int, ...] = ()) -> Unit:
    return Unit(tuple(map(FormatPair.parse, pairs)), accumulator, lanes, rates=rates)


def verdicts(simulator: str, made: Unit, folder: Path, pairs: int | None = 300) -> list[Verdict]:
    needed(simulator)
    built = build(made)
    checks = [Check(built, "unit", verification(made, mode, pairs=pairs)) for mode in range(len(made.modes))]
    return simulate(simulator, checks, {"unit.v": built.text}, folder)


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [frozenset(), EVERY_STEP], ids=["whole", "pipelined"])
@pytest.mark.parametrize(("pair", "accumulator", "lanes"), SINGLE)
def test_a_unit_computes_what_its_twin_does(
    pair: str, accumulator: str, lanes: int, cuts: frozenset[str], tmp_path: Path
) -> None:
    found = verdicts("iverilog", unit((pair,), accumulator, lanes).cut(cuts), tmp_path)
    assert [verdict.wrong for verdict in found] == [0], found[0].detail


@pytest.mark.slow
@pytest.mark.parametrize("cuts", [frozenset(), EVERY_STEP], ids=["whole", "pipelined"])
@pytest.mark.parametrize(("pairs", "rates", "accumulator", "lanes"), SHARED)
def test_a_shared_unit_computes_in_each_mode_what_a_unit_of_that_format_does(
    pairs: tuple[str, ...],
    rates: tuple[int, ...],
    accumulator: str,
    lanes: int,
    cuts: frozenset[str],
    tmp_path: Path,
) -> None:
    found = verdicts("iverilog", unit(pairs, accumulator, lanes, rates).cut(cuts), tmp_path)
    assert [verdict.wrong for verdict in found] == [0] * len(pairs), "\n".join(v.detail for v in found)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize(("pair", "accumulator"), [("int8", "int32"), ("fp8_e4m3", "fp32")])
def test_every_pair_of_codes_is_right_in_both_simulators(
    simulator: str, pair: str, accumulator: str, tmp_path: Path
) -> None:
    found = verdicts(simulator, unit((pair,), accumulator, 1), tmp_path, pairs=None)
    assert found[0].steps > 65536
    assert found[0].wrong == 0, found[0].detail


def test_the_bench_notices_a_wrong_bit(tmp_path: Path) -> None:
    needed("iverilog")
    made = unit(("int4",), "int24", 1)
    vectors = verification(made, 0, pairs=40)
    expected = vectors.expected.copy()
    expected[7] ^= 1
    built = build(made)
    check = Check(built, "unit", replace(vectors, expected=expected))
    found = simulate("iverilog", [check], {"unit.v": built.text}, tmp_path)
    assert found[0].wrong == 1
    assert "step 7" in found[0].detail


def test_cuts_add_latency_and_interleave_only_in_the_accumulator_loop() -> None:
    plain = unit(("fp8_e4m3",), "aligned25", 4)
    assert build(plain).latency == (2,)
    front, loop = plain.cut({"multiply", "normalise"}), plain.cut({"fp_align", "fp_add"})
    assert (build(front).latency, front.interleave) == ((4,), 1)
    assert (build(loop).latency, loop.interleave) == ((4,), 3)


def test_scaled_blocks_are_added_as_integers_only_in_a_unit_of_one_format() -> None:
    with pytest.raises(InputError, match="adds blocks of int4_g16_s2u4:int4_g16_s2u4 in floating point: take fp32"):
        unit(("int8", "int4_g16_s2u4"), "int32", 16)


def test_an_exact_accumulator_of_bf16_is_refused_with_what_to_take_instead() -> None:
    with pytest.raises(InputError, match="take fp32 or aligned25"):
        unit(("bf16",), "exact", 4)


def test_a_simulator_that_refuses_the_source_is_reported(tmp_path: Path) -> None:
    needed("iverilog")
    made = unit(("int4",), "int24", 1)
    built = build(made)
    with pytest.raises(EnvironmentProblem, match="iverilog failed"):
        simulate("iverilog", [Check(built, "unit", verification(made, 0, pairs=4))], {"unit.v": "nonsense"}, tmp_path)
