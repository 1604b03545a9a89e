"""Elements hold the values that their specifications list."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from gfloat import decode_float

from codesign.formats import FloatElement, IntElement, get_format
from codesign.formats.elements import E8M0
from tests.formats.oracles import MINIFLOATS


def element_of(name: str) -> FloatElement:
    element = get_format(name).element
    assert isinstance(element, FloatElement)
    return element


@pytest.mark.parametrize("name", MINIFLOATS)
def test_every_code_decodes_as_ml_dtypes_decodes_it(name: str) -> None:
    element = element_of(name)
    codes = np.arange(1 << element.bits, dtype=np.uint8)
    expected = codes.view(MINIFLOATS[name][0]).astype(np.float32)
    assert np.array_equal(element.values().numpy(), expected, equal_nan=True)
    assert np.array_equal(np.signbit(element.values().numpy()), np.signbit(expected))


@pytest.mark.parametrize("name", MINIFLOATS)
def test_every_code_decodes_as_gfloat_decodes_it(name: str) -> None:
    element = element_of(name)
    expected = [decode_float(MINIFLOATS[name][1], code).fval for code in range(1 << element.bits)]
    assert np.array_equal(element.values().double().numpy(), np.array(expected), equal_nan=True)


@pytest.mark.parametrize(("name", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_every_16_bit_code_decodes_as_torch_decodes_it(name: str, dtype: torch.dtype) -> None:
    element = element_of(name)
    expected = element.codes().to(torch.int16).view(dtype).float()
    assert torch.equal(element.values().nan_to_num(1.5), expected.nan_to_num(1.5))
    assert torch.equal(element.decode(element.codes()).nan_to_num(1.5), expected.nan_to_num(1.5))


def test_e8m0_is_a_power_of_two_from_minus_127_to_127_or_nan() -> None:
    expected = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    assert np.array_equal(E8M0.values().numpy(), expected, equal_nan=True)
    assert (E8M0.emin, E8M0.emax, E8M0.nan_code) == (-127, 127, 255)


@pytest.mark.parametrize("name", [*MINIFLOATS, "fp16", "bf16"])
def test_finite_values_encode_to_their_own_code(name: str) -> None:
    element = element_of(name)
    codes, values = element.codes(), element.values()
    finite = values.isfinite()
    mask = (1 << element.bits) - 1
    assert torch.equal(element.encode(values[finite]).long() & mask, codes[finite])


def test_e8m0_values_encode_to_their_own_code() -> None:
    assert torch.equal(E8M0.encode(E8M0.values()).long(), torch.arange(256))


@pytest.mark.parametrize(
    ("name", "max_value", "smallest", "specials"),
    [
        ("fp8_e4m3", 448, 2**-9, (True, False)),
        ("fp8_e5m2", 57344, 2**-16, (True, True)),
        ("fp6_e3m2", 28, 2**-4, (False, False)),
        ("fp6_e2m3", 7.5, 2**-3, (False, False)),
        ("fp4_e2m1", 6, 0.5, (False, False)),
        ("fp16", 65504, 2**-24, (True, True)),
    ],
)
def test_ranges_and_special_codes_are_those_of_the_specification(
    name: str, max_value: float, smallest: float, specials: tuple[bool, bool]
) -> None:
    element = element_of(name)
    assert (element.max_value, element.min_value, element.smallest) == (max_value, -max_value, smallest)
    assert (element.has_nan, element.has_inf) == specials


@pytest.mark.parametrize(
    ("element", "low", "high"),
    [
        (IntElement(8, narrow=True), -127, 127),
        (IntElement(4), -8, 7),
        (IntElement(4, signed=False), 0, 15),
        (IntElement(8, narrow=True, fraction_bits=6), -1.984375, 1.984375),
    ],
)
def test_integers_enumerate_their_range(element: IntElement, low: float, high: float) -> None:
    values = element.values()
    assert (float(values[0]), float(values[-1])) == (low, high) == (element.min_value, element.max_value)
    assert len(values) == (high - low) / element.step + 1
    assert torch.equal(element.encode(values).long(), element.codes())


def test_an_element_without_nan_has_no_nan_code() -> None:
    with pytest.raises(ValueError, match="no NaN"):
        _ = element_of("fp4_e2m1").nan_code


def test_the_codes_of_fp32_are_too_many_to_enumerate() -> None:
    with pytest.raises(ValueError, match="too many"):
        element_of("fp32").codes()


def test_a_float_of_more_than_sixteen_bits_that_torch_does_not_have_is_refused() -> None:
    """Its bit patterns would be cut to two bytes."""
    with pytest.raises(ValueError, match="more than 16 bits"):
        FloatElement(6, 11, 31, "ieee")
