"""Names of the grammar: what they mean, and how mistaken ones are answered."""

from __future__ import annotations

import re

import pytest

from codesign.errors import InputError
from codesign.formats import FloatElement, IntElement, get_format
from codesign.formats.elements import E4M3, E8M0, FP16, FP32
from codesign.formats.enumerated import KINDS, SCALES, drawn, format_names_of
from codesign.formats.scaling import Scaling
from codesign.formats.tabulated import NF4, CodebookElement, LogElement


@pytest.mark.parametrize(
    ("name", "element"),
    [
        ("int5", IntElement(5, narrow=True)),
        ("fp5_e2m2", FloatElement(2, 2, 1)),
        ("fp4_e3m0", FloatElement(3, 0, 3)),
        ("fp8_e4m3_finite", FloatElement(4, 3, 7)),
        ("fp8_e3m4_ieee", FloatElement(3, 4, 3, "ieee")),
        ("fp8_e4m3_flush_b11", FloatElement(4, 3, 11, "nan", subnormals=False)),
        ("lns6_i3f2", LogElement(3, 2)),
        ("nf4", NF4),
        ("lut3_n4_n1_0_1_4", CodebookElement((-4, -1, 0, 1, 4))),
    ],
)
def test_an_element_is_written_by_its_kind_and_its_bits(name: str, element: object) -> None:
    assert get_format(name).element == element
    assert get_format(name).scaling == Scaling("slice", FP32, "absmax")


@pytest.mark.parametrize(
    ("name", "scaling", "bits"),
    [
        ("int4_g24", Scaling("block", FP16, "absmid", 24), 4 + 16 / 24),
        ("fp5_e2m2_g32_se8m0", Scaling("block", E8M0, "floor", 32), 5.25),
        ("fp4_e2m1_g16_se4m3", Scaling("block", E4M3, "absmax", 16), 4.5),
        ("fp4_e2m1_g16_se5m3", Scaling("block", FloatElement(5, 3, 15, signed=False), "absmax", 16), 4.5),
        ("nf4_g16_s2e4m3", Scaling("block", E4M3, "absmax", 16, FP32), 4.5),
        ("int4_g16_s2u4", Scaling("block", IntElement(4, signed=False), "absmid", 16, FP32), 4.25),
        ("int3_g48_se5m3_zp", Scaling("block", FloatElement(5, 3, 15, signed=False), "minmax", 48), 3 + 11 / 48),
        ("lns4_i2f1_g32_se8m0_even", Scaling("block", E8M0, "even", 32), 4.25),
    ],
)
def test_blocks_are_written_with_their_size_and_the_type_of_their_scale(
    name: str, scaling: Scaling, bits: float
) -> None:
    assert get_format(name).scaling == scaling
    assert get_format(name).bits_per_element == pytest.approx(bits)


WRONG = {
    "int4_g1": "int4_g2",
    "int4_g9999": "int4_g1024",
    "int04": "int4",
    "fp8_e4m4": "fp8_e4m3",
    "fp9_e8m0": "fp8_e7m0",
    "fp8_e4m3_nan": "fp8_e4m3",
    "fp4_e2m1_b1": "fp4_e2m1",
    "fp4_e3m0_ieee": "fp4_e3m0",
    "fp4_e2m1_zp": "fp4_e2m1",
    "lns8_i3f2": "lns6_i3f2",
    "lns4_i3f0": "fp4_e3m0",
    "lns9_i4f4": "lns8_i4f3",
    "lut4_n4_n1_0_1_4": "lut3_n4_n1_0_1_4",
    "lut3_1_0_n1": "lut2_n1_0_1",
    "int4_g16_su4": "int4_g16_s2u4",
    "int4_g16_sfp16": "int4_g16",
    "int4_g16_s2e8m0": "int4_g16_se8m0",
    "int8_se8m0": "int8_g32_se8m0",
    "fp4_e2m1_g32_se8m0": "mxfp4",
    "fp4_e2m1_g16_s2e4m3": "nvfp4",
    "int4_g16_token": "int4_g16",
    "int4_g16_ruel": "int4_g16",
    "nf4_g32_absmid": "nf4_g32",
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistaken_name_is_answered_with_what_is_wrong_and_the_right_one(name: str) -> None:
    with pytest.raises(InputError, match=f"unknown format '{name}'") as error:
        get_format(name)
    suggested = re.search(r"did you mean '([^']*)'", str(error.value))
    assert suggested is not None
    assert suggested[1] == WRONG[name]
    assert get_format(suggested[1])


def test_every_enumerated_format_has_one_name_and_one_meaning() -> None:
    names = format_names_of(KINDS, (3, 8), (0, 16, 32), SCALES)
    assert len(names) > 1000
    formats = [get_format(name) for name in names]
    assert [fmt.name for fmt in formats] == names
    assert len({(fmt.element, fmt.scaling) for fmt in formats}) == len(names)
    assert {"mxfp4", "nvfp4", "nf4_g16", "int4_g32"} <= set(names)


def test_a_draw_is_repeatable_and_has_every_kind() -> None:
    names = drawn(60, 3)
    assert names == drawn(60, 3)
    assert len(set(names)) == 60
    starts = ("int", "fp", "lns", "lut")
    assert all(any(name.startswith(start) for name in names) for start in starts)
