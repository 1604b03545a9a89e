"""Elements round as ml_dtypes, gfloat and torch round: no mismatch anywhere."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch
from gfloat import RoundMode, encode_ndarray, round_ndarray

from codesign.formats import get_format
from codesign.formats.elements import E4M3, E5M2, FP32, FloatElement, IntElement
from codesign.formats.rounding import round_elements_, round_to
from tests.formats.oracles import (
    MINIFLOATS,
    count_mismatches,
    edge_cases,
    grid_of,
    nearest_on,
    random_numbers,
    same_bits,
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def unscaled_codes(name: str, x: torch.Tensor) -> np.ndarray:
    """Codes of `x` under a scale of exactly 1 (the calibrated range is the element's own)."""
    fmt = get_format(name)
    quantized = fmt.quantize(x, amax=fmt.max_value)
    assert quantized.scales is not None
    assert float(quantized.scales) == 1
    return quantized.codes.numpy()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MINIFLOATS)
def test_edge_cases_have_the_codes_of_gfloat_under_saturation(name: str, dtype: torch.dtype) -> None:
    x = edge_cases(grid_of(name)).to(dtype)
    info = MINIFLOATS[name][1]
    rounded = round_ndarray(info, x.double().numpy(), RoundMode.TiesToEven, sat=True)
    assert np.array_equal(unscaled_codes(name, x), encode_ndarray(info, rounded).astype(np.uint8))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MINIFLOATS)
def test_edge_cases_and_a_million_numbers_have_the_codes_of_ml_dtypes_inside_the_range(
    name: str, dtype: torch.dtype
) -> None:
    limit = get_format(name).max_value
    x = torch.cat([edge_cases(grid_of(name)), random_numbers(limit)]).to(dtype)
    expected = x.float().clamp(-limit, limit).numpy().astype(MINIFLOATS[name][0]).view(np.uint8)
    assert int((unscaled_codes(name, x) != expected).sum()) == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MINIFLOATS)
def test_fake_quantized_values_are_the_nearest_ones_with_their_sign(name: str, dtype: torch.dtype) -> None:
    grid, fmt = grid_of(name), get_format(name)
    x = torch.cat([edge_cases(grid), random_numbers(fmt.max_value)]).to(dtype)
    x = x[x.isfinite()]
    values = fmt.fake_quantize(x, amax=fmt.max_value)
    assert values.dtype == dtype
    assert count_mismatches(values.double().numpy(), nearest_on(grid, x.double().numpy())) == 0


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2"])
def test_a_million_numbers_round_as_torch_casts_them(name: str) -> None:
    fmt = get_format(name)
    x = random_numbers(fmt.max_value).clamp(-fmt.max_value, fmt.max_value)
    native = {"fp8_e4m3": torch.float8_e4m3fn, "fp8_e5m2": torch.float8_e5m2}[name]
    assert same_bits(fmt.fake_quantize(x, amax=fmt.max_value), x.to(native).float())


@pytest.mark.parametrize("bits", range(2, 17))
def test_integers_round_ties_to_even_and_saturate(bits: int) -> None:
    limit = 2 ** (bits - 1) - 1
    grid = np.arange(limit + 1, dtype=np.float64)
    x = torch.cat([edge_cases(grid), random_numbers(limit, 100_000)])
    codes = get_format(f"int{bits}").quantize(x, amax=float(limit)).codes.numpy()
    assert np.array_equal(codes, np.rint(x.double().numpy()).clip(-limit, limit))


@pytest.mark.parametrize("fraction_bits", [0, 2, 6])
def test_fixed_point_numbers_round_to_multiples_of_their_step(fraction_bits: int) -> None:
    element = IntElement(8, fraction_bits=fraction_bits)
    step = 2.0**-fraction_bits
    y = torch.tensor([-100.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.75, 100.5]) * step
    round_elements_(y, element, torch.empty_like(y))
    assert (y / step).tolist() == [-100, -2, 0, 0, 2, 2, 3, 100]


@pytest.mark.parametrize(("element", "oracle"), [(E4M3, "fp8_e4m3"), (E5M2, "fp8_e5m2"), (FloatElement(2, 3, 1), "")])
def test_scales_round_to_the_nearest_value_with_their_sign_and_saturate(element: FloatElement, oracle: str) -> None:
    grid = grid_of(oracle or "fp6_e2m3")
    x = torch.cat([edge_cases(grid), random_numbers(element.max_value, 1000)])
    x = torch.cat([x, -x])
    x = x[x.isfinite()]
    assert count_mismatches(round_to(element, x).double().numpy(), nearest_on(grid, x.double().numpy())) == 0
    assert same_bits(round_to(FP32, x), x)


@pytest.mark.parametrize(("name", "oracle"), [("bf16", ml_dtypes.bfloat16), ("fp16", np.float16)])
def test_casts_round_as_numpy_does_and_saturate(name: str, oracle: type) -> None:
    limit = get_format(name).max_value
    spread = random_numbers(2.0**100 if name == "bf16" else limit)
    x = torch.cat([edge_cases(np.array([0, 1.0, 1.5, limit])), spread])
    expected = x.clamp(-limit, limit).numpy().astype(oracle).astype(np.float32)
    assert same_bits(get_format(name).fake_quantize(x), torch.from_numpy(expected))


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cast_is_its_own_inverse_on_what_it_holds(name: str, dtype: torch.dtype) -> None:
    x = random_numbers(1000, 1000).to(dtype)
    fmt = get_format(name)
    once = fmt.fake_quantize(x)
    assert same_bits(fmt.fake_quantize(once), once)
    assert same_bits(fmt.quantize(x).dequantize(), once)


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp8_e5m2"])
def test_nan_keeps_its_place_and_disturbs_nothing_else(name: str) -> None:
    x = torch.tensor([1.0, torch.nan, -3.0, 448.0])
    fmt = get_format(name)
    without = fmt.fake_quantize(x.nan_to_num(0.0))
    for values in (fmt.fake_quantize(x), fmt.quantize(x).dequantize()):
        assert values.isnan().tolist() == [False, True, False, False]
        assert torch.equal(values[[0, 2, 3]], without[[0, 2, 3]])


@pytest.mark.parametrize("name", ["int8", "int8_zp", "fp4_e2m1", "mxfp4", "nvfp4", "int4_g32", "mxfp8_e4m3", "bf16"])
def test_nan_never_becomes_a_number(name: str) -> None:
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    x[1, 40] = torch.nan
    assert bool(get_format(name).fake_quantize(x, axis=1)[1, 40].isnan())


@pytest.mark.parametrize("name", ["fp8_e4m3", "fp4_e2m1", "int8", "mxfp4", "mxint8", "nvfp4", "int4_g32_zp", "bf16"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinity_counts_as_the_largest_number_of_the_input(name: str, dtype: torch.dtype) -> None:
    x = torch.tensor([[1.0, torch.inf, -2.0, -torch.inf]], dtype=dtype)
    fmt = get_format(name)
    finite = x.clamp(-torch.finfo(dtype).max, torch.finfo(dtype).max)
    values = fmt.fake_quantize(x, axis=1)
    assert bool(values.isfinite().all())
    assert same_bits(values, fmt.fake_quantize(finite, axis=1))
    assert same_bits(values, fmt.quantize(x, axis=1).dequantize())
