"""Deviation of accumulators on the tensors of a layer."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np
import pytest
import torch

from codesign.errors import InputError
from codesign.formats import FormatPair, get_format
from codesign.hardware.rtl.verify.codes import OperandCodes
from codesign.hardware.rtl.verify.deviation import Deviation, described, deviation

P = FormatPair.parse
WEIGHT, ACTIVATION = (torch.randn(20, 300, generator=torch.Generator().manual_seed(i)) for i in range(2))


def measured(pair: str, accumulator: str, lanes: int = 16) -> Deviation:
    return deviation(P(pair), accumulator, lanes, WEIGHT, ACTIVATION)


@pytest.mark.parametrize("pair", ["int8", "int4:int8", "int8_zp", "fp8_e4m3", "fp6_e3m2:int8"])
def test_fixed_point_that_fits_is_exact(pair: str) -> None:
    found = measured(pair, "exact60")
    assert found.sqnr_db == inf
    assert not found.overflow


def test_fixed_point_that_wraps_is_an_overflow() -> None:
    found = measured("int8", "int16")
    assert found.overflow
    assert found.sqnr_db < 10


def test_a_bit_of_window_is_worth_about_six_decibels() -> None:
    dbs = [measured("fp16", f"aligned{w}").sqnr_db for w in (10, 14, 18)]
    assert np.diff(dbs) == pytest.approx(4 * 6.02, abs=6)


def test_half_precision_deviates_by_about_its_eleven_bits() -> None:
    assert 50 < measured("fp16", "fp16").sqnr_db < 75


def test_half_precision_saturates_under_numbers_scaled_to_the_top_of_fp8() -> None:
    assert measured("fp8_e4m3", "fp16").sqnr_db < 10


@pytest.mark.parametrize(
    "pair", ["mxfp8_e4m3", "mxfp4", "nvfp4", "int4_g32:int8", "int4_g64_zp:int8_zp", "mxint8", "bf16"]
)
@pytest.mark.parametrize("lanes", [1, 16])
def test_single_precision_keeps_what_quality_measures(pair: str, lanes: int) -> None:
    """Codes, scales and zero points mean the same to the unit as to the fake quantization."""
    found = measured(pair, "fp32", lanes)
    assert found.sqnr_db > 120
    assert found.against_fp32_db > 115


@pytest.mark.parametrize("pair", ["nvfp4", "int4_g32:int8", "int4_g32:int4_g64"])
def test_several_blocks_in_one_step_are_aligned_in_25_bits(pair: str) -> None:
    assert measured(pair, "auto", 64).sqnr_db > 95


def test_blocks_run_along_the_channels_of_each_tap() -> None:
    shape = (8, 9, 24)
    weight, activation = (torch.randn(shape, generator=torch.Generator().manual_seed(i)) for i in range(2))
    found = deviation(P("mxfp4"), "auto", 16, weight, activation)
    assert found.steps == 18  # 9 taps of 24 channels, filled up to a block of 32, 16 at a time
    assert found.outputs == 64
    assert found.against_fp32_db > 115


@pytest.mark.parametrize("name", ["int4", "int4_g32_zp", "mxfp4", "nvfp4"])
def test_a_weight_that_is_rounded_already_keeps_its_codes(name: str) -> None:
    """Its codes give the sums of its values; with twice the scales, which no rule would pick, they are the same."""
    rounded = get_format(name).quantize(WEIGHT, axis=-1)
    pair = P(f"{name}:fp8_e4m3 + gptq")
    assert deviation(pair, "fp32", 16, rounded, ACTIVATION) == measured(f"{name}:fp8_e4m3", "fp32")
    scales = rounded.scales
    assert scales is not None
    doubled = OperandCodes.of(get_format(name), replace(rounded, scales=2 * scales), None, True, 32)
    once = OperandCodes.of(get_format(name), rounded, None, True, 32)
    assert np.array_equal(doubled.codes, once.codes)
    assert torch.equal(doubled.dequantized, 2 * once.dequantized)


def test_given_ranges_clip() -> None:
    found = deviation(P("int8"), "int17", 16, WEIGHT, ACTIVATION, ranges=(None, 1e6))
    assert not found.overflow  # the codes of the activations are all 0
    assert deviation(P("int8"), "int17", 16, WEIGHT, ACTIVATION, ranges=(None, 1e-6)).overflow


def test_at_most_16_rows_and_columns_are_computed() -> None:
    assert measured("int8", "auto").outputs == 256
    assert measured("int8", "auto").steps == 19


def test_zero_tensors_do_not_deviate() -> None:
    assert deviation(P("nvfp4"), "auto", 16, torch.zeros(4, 40), torch.zeros(4, 40)).sqnr_db == inf


def test_exact_bf16_is_refused() -> None:
    with pytest.raises(InputError, match="beyond 128"):
        measured("bf16", "exact")


def test_accumulators_are_told_in_words() -> None:
    cases = [("int8", "auto", 16), ("fp8_e4m3", "auto", 16), ("mxfp4", "aligned16", 8), ("int4_g32:int8", "auto", 8)]
    words = ["int32", "aligned25, fp32", "aligned16 blocks, fp32", "exact blocks, fp32"]
    assert [described(P(p), a, n) for p, a, n in cases] == words
    assert described(P("bf16"), "fp32", 1) == "fp32"
    assert described(P("fp4_e2m1"), "exact", 4) == "exact20"


def test_a_known_sum_is_what_it_is() -> None:
    """One output by hand: 1 + 2^-9 + ... in a window of 8 bits loses the small products."""
    ones, small = torch.ones(1, 2), torch.tensor([[1.0, 2.0**-8]])
    found = deviation(P("bf16"), "aligned16", 2, ones, small)
    assert found.sqnr_db == inf
    lost = deviation(P("bf16"), "aligned10", 2, ones, small * torch.tensor([[1.0, 0.5]]))
    assert lost.sqnr_db == pytest.approx(20 * np.log10((1 + 2.0**-9) * 2**9))
