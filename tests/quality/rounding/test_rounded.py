"""Rounding by methods: less loss on the layer's inputs than to the nearest, in every format."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from codesign.formats import get_format
from codesign.quality.rounding.gptq import rounded
from codesign.quality.rounding.moments import shrunk

FORMATS = (
    *("int4", "int4_zp", "int3_g32", "int4_g32", "int4_g32_zp", "int8", "fp8_e4m3", "fp6_e3m2", "fp4_e2m1"),
    *("mxfp8_e4m3", "mxfp6_e2m3", "mxfp4", "mxfp4_rceil", "mxint8", "nvfp4"),
)


def layer(rows: int = 24, taps: int = 1, channels: int = 80, groups: int = 1) -> tuple[Tensor, Tensor]:
    """A weight [G, N, T, C], and second moments of correlated inputs with some large channels."""
    generator = torch.Generator().manual_seed(0)
    k = taps * channels
    inputs = torch.randn(groups, 4 * k, k, generator=generator) @ torch.randn(groups, k, k, generator=generator)
    inputs[:, :, ::7] *= 10
    weight = torch.randn(groups, rows, taps, channels, generator=generator)
    return weight, inputs.transpose(1, 2) @ inputs / inputs.shape[1]


def loss(weight: Tensor, moments: Tensor, chosen: Tensor) -> float:
    """Mean squared error of the layer's output."""
    error = (chosen.reshape(weight.shape) - weight).flatten(2)
    return float(torch.einsum("gnk,gkl,gnl->", error, moments, error))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("taps", "channels", "groups"), [(1, 80, 1), (4, 20, 2)])
def test_each_method_loses_less_than_the_one_before(name: str, taps: int, channels: int, groups: int) -> None:
    weight, moments = layer(taps=taps, channels=channels, groups=groups)
    fmt = get_format(name)
    shaped = weight.flatten(0, 1) if fmt.is_block else weight.flatten(0, 1).flatten(1)
    nearest = loss(weight, moments, fmt.fake_quantize(shaped, axis=-1))
    clip, gptq, descent = (
        loss(weight, moments, rounded(weight, fmt, moments, method).dequantize())
        for method in ("clip", "gptq", "descent")
    )
    # scales are searched within blocks, where several groups have moments of their own by magnitudes alone
    within = fmt.scaling.block or taps * channels  # type: ignore[union-attr]
    seen = moments if groups == 1 else torch.diag_embed(moments.diagonal(dim1=1, dim2=2))
    places = torch.arange(taps * channels)
    block = places // channels * channels + places % channels // within if fmt.is_block else places * 0
    seen = seen * (block[:, None] == block[None])
    chosen = rounded(weight, fmt, moments, "clip").dequantize()
    assert loss(weight, seen, chosen) <= loss(weight, seen, fmt.fake_quantize(shaped, axis=-1)) * (1 + 1e-5)
    assert gptq < 0.8 * nearest
    assert gptq < 1.1 * clip  # which tries every scale on the whole row
    assert descent < gptq


@pytest.mark.parametrize("name", FORMATS)
def test_chosen_numbers_are_numbers_of_the_format(name: str) -> None:
    weight, moments = layer(rows=4)
    fmt = get_format(name)
    chosen = rounded(weight, fmt, moments, "gptq")
    assert chosen.scales is not None
    low, high = fmt.element.min_value, fmt.element.max_value
    elements = fmt.element.decode(chosen.codes)
    assert float(elements.min()) >= low
    assert float(elements.max()) <= high
    assert torch.equal(fmt.element.encode(elements), chosen.codes)
    assert torch.equal(fmt.scaling.scale.decode(chosen.scale_codes()), chosen.scales)  # type: ignore[union-attr]


def test_inputs_without_correlation_leave_the_nearest_number() -> None:
    weight, _ = layer()
    moments = torch.eye(80)[None]
    fmt = get_format("int4_g32")
    nearest, gptq, descent = (rounded(weight, fmt, moments, method).codes for method in ("clip", "gptq", "descent"))
    assert torch.equal(nearest, gptq)
    assert torch.equal(nearest, descent)


def test_the_loss_keeps_the_bound_of_the_nearest_plane() -> None:
    """Without clipping, a row's loss is at most a quarter of the sum of (scale * d)^2, d the diagonal of Cholesky's
    factor of H in the order of rounding: GPTQ is Babai's nearest plane algorithm (Chen et al., 2025)."""
    weight, moments = layer(rows=16)
    weight[..., 0] = 30.0  # sets the scale, so that nothing else is clipped
    chosen = rounded(weight, get_format("int16"), moments, "gptq")
    assert int(chosen.codes[:, 1:].abs().max()) < 32767
    inverse = torch.linalg.inv(moments[0].double())
    steps = torch.linalg.cholesky(inverse, upper=True).diagonal().reciprocal()
    assert chosen.scales is not None
    bound = 0.25 * (chosen.scales.double() ** 2).sum() * steps.square().sum()
    assert loss(weight, moments, chosen.dequantize()) <= 1.05 * float(bound)  # 1 % of damping


def test_a_small_row_comes_close_to_its_optimum() -> None:
    weight, _ = layer(rows=32, channels=4)
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1)) @ torch.tensor(
        [[1.0, 0.9, 0.5, 0.0], [0.0, 0.5, 0.6, 0.2], [0.0, 0.0, 0.7, 0.6], [0.0, 0.0, 0.0, 0.5]]
    )
    moments = (inputs.T @ inputs / 64)[None]
    fmt = get_format("int3")
    chosen = rounded(weight, fmt, moments, "gptq")
    assert chosen.scales is not None
    every = torch.tensor(list(itertools.product(range(-3, 4), repeat=4)), dtype=torch.float32)  # all 7**4 rows
    errors = every[None] * chosen.scales[:, None] - weight[0, :, 0][:, None]
    best = torch.einsum("nek,kl,nel->ne", errors, moments[0], errors).amin(1).sum()
    alone = (weight[0, :, 0] / chosen.scales).round().clamp(-3, 3) * chosen.scales  # each number, by the same scales
    nearest, found = (loss(weight, moments, values) for values in (alone, chosen.dequantize()))
    descent = loss(weight, moments, rounded(weight, fmt, moments, "descent").dequantize())
    assert float(best) <= found <= 1.35 * float(best)
    assert float(best) <= descent <= found < nearest


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    weight, moments = layer(rows=4)
    moments[:, 3], moments[:, :, 3] = 0.0, 0.0
    for seen in (moments, torch.zeros_like(moments)):
        for method in ("clip", "gptq", "descent"):
            chosen = rounded(weight, get_format("int4_g32"), shrunk(seen, 320), method).dequantize()
            assert bool(chosen.isfinite().all())
            # their weights count, as the data to come may reach them
            assert float((chosen.reshape(weight.shape) - weight)[..., 3].abs().max()) < 0.5


@pytest.mark.parametrize("rows", [16, 64, 512])
def test_few_rows_of_inputs_do_no_harm(rows: int) -> None:
    """Inputs without correlation, the worst case: what columns seem to share is chance."""
    generator = torch.Generator().manual_seed(1)
    weight, fmt = torch.randn(1, 24, 1, 128, generator=generator), get_format("int4_g32")
    inputs = torch.randn(rows, 128, generator=generator)
    moments = shrunk((inputs.T @ inputs / rows)[None], rows)
    true = torch.eye(128)[None]
    nearest = loss(weight, true, fmt.fake_quantize(weight, axis=-1))
    assert all(loss(weight, true, rounded(weight, fmt, moments, m).dequantize()) < nearest for m in ("clip", "gptq"))


def test_wide_elements_keep_the_scales_of_their_rule() -> None:
    weight, moments = layer(rows=4)
    fmt = get_format("int16")
    chosen = rounded(weight, fmt, moments, "clip")
    assert torch.equal(chosen.scales, fmt.quantize(weight.flatten(0, 2), axis=-1).scales)
    assert torch.equal(replace(chosen, format=fmt).dequantize(), fmt.fake_quantize(weight.flatten(0, 2), axis=-1))
