"""Area, rate and energy of compute units, against the synthesis rows and published ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from codesign.errors import InputError
from codesign.formats import FormatPair, format_names
from codesign.hardware import MacUnit
from codesign.hardware.units.activities import NOISE, activities
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.unit_model import SHIPPED_7NM, load_model


def area(pair: str, accumulator: str = "auto", dot: int = 1, node: float = 7) -> float:
    return MacUnit((FormatPair.parse(pair),), accumulator, dot, node).area_um2.value


def ratio(pair: str, accumulator: str, dot: int) -> float:
    return area(pair, accumulator, dot) / area("int8", "int32", dot)


def test_int8_mac_has_the_absolute_area_of_the_7_nm_library() -> None:
    """52.4 um2 in other RTL without the register of `first`, mapped for area; adders that are fast cost some more."""
    assert area("int8", "int32") == pytest.approx(52.4, rel=0.12)


def test_fp8_with_a_float_accumulator_is_far_larger_than_int8() -> None:
    assert ratio("fp8_e4m3", "fp32", 1) > 1.8


def test_int8_dot_32_over_int4_is_near_the_published_ratio() -> None:
    """Published: 3.56 (FormatScope, sky130), tolerance 15 %; int32 against int24 accumulators here."""
    assert area("int8", "int32", 32) / area("int4", "int24", 32) == pytest.approx(3.56, rel=0.15)


def test_a_faster_clock_costs_registers_and_shortens_the_delay() -> None:
    pair = (FormatPair.parse("fp8_e4m3"),)
    slow, fast = (MacUnit(pair, "aligned25", 16, clock_ghz=clock) for clock in (0.1, 1.0))
    assert slow.rtl.cuts < fast.rtl.cuts
    assert slow.area_um2.value < fast.area_um2.value
    assert slow.delay_ns.value > fast.delay_ns.value


def test_a_unit_longer_than_any_fitted_one_says_so() -> None:
    pair = (FormatPair.parse("int8"),)
    assert MacUnit(pair, dot=32).extrapolation == ()
    assert MacUnit(pair, dot=64).extrapolation == ("dot length 64, fitted up to 32",)


def test_interval_holds_the_value() -> None:
    found = MacUnit((FormatPair.parse("int8"), FormatPair.parse("int4:int8")), dot=16).area_um2
    assert 0 < found.low < found.value < found.high


@pytest.mark.slow
@pytest.mark.parametrize("name", format_names())
@pytest.mark.parametrize("partner", ["int8", "bf16", "fp8_e4m3", "mxfp4"])
def test_every_format_is_priceable_as_weight_and_activation(name: str, partner: str) -> None:
    for pair in (FormatPair(name, partner), FormatPair(partner, name)):
        unit = MacUnit((pair,), dot=4)
        assert unit.area_um2.value > 0


@pytest.mark.parametrize("name", format_names())
def test_every_format_has_an_energy(name: str) -> None:
    pair = FormatPair(name, name)
    assert MacUnit((pair,), dot=2).energy_pj(pair).value > 0


def test_a_format_per_token_is_multiplied_by_the_unit_of_the_plain_format() -> None:
    token, plain = FormatPair.parse("int4_g32:int8_token"), FormatPair.parse("int4_g32:int8")
    unit = MacUnit((token, plain), dot=16)
    assert unit == MacUnit((plain,), dot=16)
    assert unit.rate(token) == unit.rate(plain)
    assert unit.energy_pj(token) == unit.energy_pj(plain)


def test_a_unit_of_a_format_per_token_supports_the_plain_one() -> None:
    unit = MacUnit((FormatPair.parse("int8:int8_token"),))
    assert unit.supports(FormatPair.parse("int8"))
    assert not unit.supports(FormatPair.parse("int4"))


def test_area_grows_with_operand_width() -> None:
    areas = [area(f"int{bits}", "int40", 16) for bits in range(2, 17)]
    assert areas == sorted(areas)
    assert len(set(areas)) == len(areas)


def test_a_longer_dot_costs_less_per_lane() -> None:
    per_lane = [area("fp8_e4m3", "fp32", dot) / dot for dot in (4, 8, 16, 32)]
    assert per_lane == sorted(per_lane, reverse=True)


def test_a_wider_window_costs_more() -> None:
    assert area("bf16", "aligned32", 16) > area("bf16", "aligned25", 16) > area("bf16", "aligned16", 16)


def test_a_unit_for_one_pair_runs_it_at_rate_one() -> None:
    pair = FormatPair.parse("int4:int4")
    assert MacUnit((pair,)).rate(pair) == 1


def test_narrow_integers_run_faster_on_int8_multipliers() -> None:
    int8, w4a8, w4a4 = (FormatPair.parse(p) for p in ("int8", "int4:int8", "int4:int4"))
    unit = MacUnit((int8, w4a8, w4a4))
    assert [unit.rate(p) for p in (int8, w4a8, w4a4)] == [1, 2, 4]


def test_fp8_beside_int8_runs_at_rate_one() -> None:
    int8, fp8 = FormatPair.parse("int8"), FormatPair.parse("fp8_e4m3")
    assert MacUnit((int8, fp8)).rate(fp8) == 1


def test_a_shared_unit_costs_more_than_its_largest_pair() -> None:
    int8, fp8 = FormatPair.parse("int8"), FormatPair.parse("fp8_e4m3")
    shared = MacUnit((int8, fp8), dot=16).area_um2.value
    assert max(area("fp8_e4m3", dot=16), area("int8", dot=16)) < shared


def test_two_floats_on_one_datapath_cost_less_than_two_units() -> None:
    pairs = [FormatPair.parse(name) for name in ("mxfp8_e4m3", "mxfp4")]
    assert MacUnit(tuple(pairs), dot=16).area_um2.value < sum(area(str(p), dot=16) for p in pairs)


def test_the_order_of_pairs_does_not_change_the_area() -> None:
    pairs = tuple(FormatPair.parse(p) for p in ("int8", "int4_g32:int8", "fp8_e4m3"))
    assert MacUnit(pairs, dot=16).area_um2 == MacUnit(pairs[::-1], dot=16).area_um2


def test_four_bit_products_take_less_energy_than_eight_bit_ones() -> None:
    int8, w4a8, w4a4 = (FormatPair.parse(p) for p in ("int8", "int4:int8", "int4:int4"))
    unit = MacUnit((int8, w4a8, w4a4), dot=16)
    assert unit.energy_pj(w4a4).value < unit.energy_pj(w4a8).value < unit.energy_pj(int8).value


def test_energy_of_an_int8_mac_is_of_the_published_size() -> None:
    """0.1 pJ at 7 nm for adder and multiplier (Jouppi et al. 2021); ours has operand and sum registers too."""
    pair = FormatPair.parse("int8")
    found = MacUnit((pair,), "int32").energy_pj(pair)
    assert found.value == pytest.approx(0.2, rel=0.5)


def test_energy_goes_by_what_the_operands_do() -> None:
    pair = FormatPair.parse("int2")
    unit = MacUnit((pair,), dot=16)
    quiet, noise = unit.energy_pj(pair, "restore"), unit.energy_pj(pair, NOISE)
    assert quiet.value < noise.value / 2  # most int2 codes of a real layer are zero
    default = unit.energy_pj(pair)
    ends = [unit.energy_pj(pair, name) for name in activities() if name != NOISE]
    assert default.low <= min(end.low for end in ends) <= default.value <= max(end.high for end in ends)
    with pytest.raises(InputError, match="unknown activity 'restor'; did you mean 'restore'"):
        unit.energy_pj(pair, "restor")


@pytest.mark.parametrize(("node", "area", "energy"), [(130, (50, 300), 10), (180, (200, 900), 40)])
def test_older_nodes_have_libraries_of_their_own(node: int, area: tuple[int, int], energy: float) -> None:
    pair = FormatPair.parse("int8")
    old, new = (MacUnit((pair,), "int32", 16, nm, clock_ghz=0.1) for nm in (node, 7))
    assert area[0] < old.area_um2.value / new.area_um2.value < area[1]
    assert old.energy_pj(pair).value > energy * new.energy_pj(pair).value


def test_a_node_without_a_library_says_where_there_is_one() -> None:
    with pytest.raises(InputError, match="3 to 45 nm; MAC units alone also at 130 and 180 nm"):
        MacUnit((FormatPair.parse("int8"),), node_nm=90)


def test_a_model_of_ones_own_prices_units(tmp_path: Path) -> None:
    pair = FormatPair.parse("int8")
    copy = tmp_path / "mine.yaml"
    copy.write_text((DATA / SHIPPED_7NM).read_text())
    mine, shipped = MacUnit((pair,), unit_model=str(copy)), MacUnit((pair,))
    assert mine.area_um2.value == pytest.approx(shipped.area_um2.value, rel=0.05)  # at its own node, unscaled
    assert mine.model.name == str(copy)


def test_coefficients_that_all_units_share_cannot_be_changed() -> None:
    model = MacUnit((FormatPair.parse("int8"),)).model
    for shared in (model.area_um2, model.ps, model.energy_fj):
        with pytest.raises(ValueError, match="read-only"):
            shared[0] = 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("area_um2: [", "not YAML"),
        ("area_um2: {}", "no section level_ps"),
        ("[]", "no section area_um2"),
        (
            "{area_um2: {}, level_ps: {}, energy_fj: {}, energy: {}, errors: {}, provenance: {}}",
            "not a complete unit model",
        ),
    ],
)
def test_a_file_that_is_no_model_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        assert MacUnit((FormatPair.parse("int8"),), unit_model=str(path)).area_um2
    assert str(path) in str(caught.value)


def test_a_smaller_node_is_smaller_and_thriftier() -> None:
    pair = FormatPair.parse("int8")
    units = [MacUnit((pair,), "int32", 16, node) for node in (45, 28, 16, 7, 6, 5, 4, 3)]
    areas = [unit.area_um2.value for unit in units]
    assert areas == sorted(areas, reverse=True)
    energies = [unit.energy_pj(pair).value for unit in units]
    assert energies == sorted(energies, reverse=True)


@pytest.mark.parametrize(
    ("pairs", "changes", "message"),
    [
        (["int9x"], {}, "int9x"),
        (["int8"], {"accumulator": "int33x"}, "unknown accumulator 'int33x'"),
        (["int8"], {"accumulator": "fp24"}, "unknown accumulator 'fp24'"),
        (["fp8_e4m3"], {"accumulator": "int32"}, "floating-point"),
        (["int8"], {"dot": 300}, "whole number"),
        (["int8"], {"dot": 0}, "whole number"),
        (["mxfp4"], {"dot": 12}, "take 8 or 16"),
        (["int8"], {"dot": 16, "accumulator": "int4"}, "take int19"),
        (["int8"], {"node_nm": 2}, "node_nm"),
        ([], {}, "at least one"),
    ],
)
def test_impossible_units_are_refused(pairs: list[str], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MacUnit(tuple(FormatPair.parse(p) for p in pairs), **changes)


def test_an_unsupported_pair_is_refused_with_what_is_supported() -> None:
    with pytest.raises(InputError, match=r"does not support bf16:bf16; it supports int8:int8"):
        MacUnit((FormatPair.parse("int8"),)).rate(FormatPair.parse("bf16"))


def test_a_model_from_before_the_time_of_synthesis_was_kept_is_read(tmp_path: Path) -> None:
    shipped = yaml.safe_load((DATA / SHIPPED_7NM).read_text(encoding="utf-8"))
    del shipped["provenance"]["synthesis_s"]
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(shipped))
    found = load_model(str(tmp_path / "model.yaml"))
    assert found.provenance.synthesis_s is None
    assert found.provenance.fitted == load_model(SHIPPED_7NM).provenance.fitted
