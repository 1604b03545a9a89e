"""Formats whose activations take one scale per token from their data."""

from __future__ import annotations

import pytest
import torch

from codesign.errors import InputError
from codesign.formats import FormatPair, format_names, get_format

PLAIN = ["int2", "int8", "int16", "int8_zp", "fp8_e4m3", "fp8_e5m2", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1"]


def test_int8_token_divides_each_token_by_its_own_largest_magnitude() -> None:
    torch.manual_seed(0)
    x = torch.randn(5, 32) * torch.logspace(-3, 3, 5)[:, None]
    scale = x.abs().amax(dim=1, keepdim=True) / 127
    expected = (x / scale).round().clamp(-127, 127) * scale
    assert torch.equal(get_format("int8_token").fake_quantize(x, axis=-1), expected)


@pytest.mark.parametrize("name", PLAIN)
def test_every_plain_format_has_a_form_per_token_with_the_same_values(name: str) -> None:
    torch.manual_seed(0)
    fmt, x = get_format(f"{name}_token"), torch.randn(4, 6, 8)
    assert fmt.per_token
    assert fmt.datapath == name
    assert fmt.bits_per_element == get_format(name).bits_per_element
    for axis in (0, 1, 2):
        assert torch.equal(fmt.fake_quantize(x, axis=axis), get_format(name).fake_quantize(x, axis=axis))


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_stored_per_token_is_what_is_fake_quantized(name: str) -> None:
    torch.manual_seed(0)
    fmt, x = get_format(f"{name}_token"), torch.randn(4, 6, 8)
    stored = fmt.quantize(x, axis=1)
    assert torch.equal(stored.dequantize(), fmt.fake_quantize(x, axis=1))
    assert stored.scales is not None
    assert stored.scales.shape == (4, 1, 8)


def test_a_scale_per_token_accepts_no_calibrated_range() -> None:
    fmt = get_format("fp8_e4m3_token")
    assert not fmt.takes_range
    with pytest.raises(InputError, match="takes its scales from the data"):
        fmt.fake_quantize(torch.randn(2, 4), axis=-1, amax=1.0)


@pytest.mark.parametrize("name", ["int4_g32_token", "mxfp4_token", "nvfp4_token", "bf16_token", "int8_token_token"])
def test_blocks_and_casts_have_no_scale_per_token(name: str) -> None:
    with pytest.raises(InputError, match="unknown format"):
        get_format(name)


def test_a_misspelt_format_per_token_is_suggested() -> None:
    with pytest.raises(InputError, match="int8_token"):
        get_format("int8_tokens")


def test_the_usual_formats_per_token_are_listed() -> None:
    assert {"int8_token", "int4_token", "fp8_e4m3_token", "fp4_e2m1_token"} <= set(format_names())


def test_a_pair_has_the_datapath_of_its_elements() -> None:
    assert FormatPair.parse("int4_g32:int8_token").datapath == FormatPair("int4_g32", "int8")
    assert FormatPair.parse("nvfp4").datapath == FormatPair("nvfp4", "nvfp4")
