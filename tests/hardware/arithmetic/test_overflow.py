"""Which fixed-point accumulators can wrap."""

from __future__ import annotations

import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.arithmetic.overflow import Reduction, check_overflow, required_bits, worst_case_fits

P = FormatPair.parse


@pytest.mark.parametrize(
    ("pair", "k", "bits"),
    [
        ("int8", 1, 15),  # 127 * 127 = 16129 < 2^14
        ("int8", 2, 16),
        ("int8_zp", 1, 17),  # 255 * 255 = 65025 < 2^16
        ("int4_g32:int8", 1, 11),  # -8 * 127 = -1016
        ("int4_g16_s2u4", 1, 15),  # 8 * 8, times two scales of at most 15: 14400
        ("fp4_e2m1", 1, 9),  # 6 * 6 in quarters: 144
        ("fp8_e4m3", 1, 37),  # (448 * 2^9)^2 = 2^35.5
    ],
)
def test_required_bits_hold_the_worst_sum(pair: str, k: int, bits: int) -> None:
    assert required_bits(P(pair), k) == bits


@pytest.mark.parametrize("pair", ["int8", "int4:int8", "int8_zp:int4", "fp8_e5m2", "fp6_e2m3:int8"])
@pytest.mark.parametrize("k", [1, 2, 3, 1000, 4608])
def test_one_bit_less_than_required_can_wrap(pair: str, k: int) -> None:
    name, bits = ("int" if "fp" not in pair else "exact"), required_bits(P(pair), k)
    assert worst_case_fits(P(pair), f"{name}{bits}", k)
    assert not worst_case_fits(P(pair), f"{name}{bits - 1}", k)


def test_int32_holds_int8_up_to_its_k() -> None:
    """133,144 x 127^2 = 2,147,479,576, just below 2^31 = 2,147,483,648."""
    assert worst_case_fits(P("int8"), "auto", 133_144)
    assert not worst_case_fits(P("int8"), "auto", 133_145)


@pytest.mark.parametrize(("pair", "accumulator"), [("bf16", "fp32"), ("int4_g32:int8", "auto"), ("int8", "aligned16")])
def test_floating_point_accumulators_never_wrap(pair: str, accumulator: str) -> None:
    assert worst_case_fits(P(pair), accumulator, 10**9)


def test_the_refusal_names_layer_length_accumulator_and_the_width_that_would_do() -> None:
    unit = MacUnit((P("int8"),), "int18", 4)
    with pytest.raises(
        InputError, match=r"'int18' has 18 bits.*net layer 'fc'.*K = 300.*int8:int8; take int24 or fp32"
    ):
        check_overflow(unit, [Reduction("net", "fc", P("int8"), 300)])


def test_a_saturating_accumulator_is_not_refused_and_costs_a_clamp() -> None:
    plain, saturating = (MacUnit((P("int8"),), name, 4) for name in ("int18", "int18_sat"))
    check_overflow(saturating, [Reduction("net", "fc", P("int8"), 300)])
    assert plain.area_um2.value < saturating.area_um2.value < 1.15 * plain.area_um2.value


@pytest.mark.parametrize("name", ["fp32_sat", "aligned25_sat", "auto_sat", "int_sat", "int3_sat"])
def test_only_fixed_point_accumulators_with_a_width_take_sat(name: str) -> None:
    with pytest.raises(InputError, match=name):
        MacUnit((P("int8"),), name, 4)


def test_a_pair_that_the_unit_lacks_does_not_count() -> None:
    check_overflow(MacUnit((P("int4"),), "int18", 4), [Reduction("net", "fc", P("int8"), 300)])


def test_a_narrow_pair_uses_the_wide_accumulator_that_it_shares() -> None:
    check_overflow(MacUnit((P("int2:int8"), P("int8")), "exact", 4), [Reduction("net", "fc", P("int2:int8"), 10_000)])
