"""Modules that a Brevitas quantizer takes scales and zero points from, where Brevitas itself would choose others."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from codesign.formats import Format
from codesign.formats.format import Quantized


class GivenScales(nn.Module):
    """A scaling that takes the scales of the state, whatever the statistics of the numbers are.

    value: float32; of a weight one for each output channel [N, 1, ...] or group [N, groups, 1, ...], in the shape that
    Brevitas gives to scales of the layer's weight; of an activation a scalar.
    """

    value: Tensor

    def __init__(self, scaling_shape: tuple[int, ...], given_scale: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("value", torch.full(scaling_shape, given_scale))

    def forward(self, x: Tensor, threshold: Tensor | None = None) -> Tensor:
        return self.value


class GivenZeroPoints(nn.Module):
    """The zero points of the state, unsigned codes in float32, shaped like the scales of `GivenScales`."""

    value: Tensor

    def __init__(self, scaling_shape: tuple[int, ...], given_zero_point: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("value", torch.full(scaling_shape, given_zero_point))

    def forward(self, x: Tensor, scale: Tensor, bit_width: Tensor) -> Tensor:
        return self.value


class TokenScales(nn.Module):
    """A scaling with one scale for each index of all dimensions but some, which a format takes from the data.

    token_axes: these dimensions, those that the sums of a layer run over: the last one of a linear layer's input, all
    but the batch of a convolution's.
    """

    def __init__(self, token_format: Format, token_axes: tuple[int, ...]) -> None:
        super().__init__()
        self.format, self.axes = token_format, token_axes

    def forward(self, x: Tensor, threshold: Tensor | None = None) -> Tensor:
        scales = _of_tokens(x, self.format, self.axes).scales
        assert scales is not None
        return _in_place(scales, x, self.axes)


class TokenZeroPoints(nn.Module):
    """The zero points that go with `TokenScales`."""

    def __init__(self, token_format: Format, token_axes: tuple[int, ...]) -> None:
        super().__init__()
        self.format, self.axes = token_format, token_axes

    def forward(self, x: Tensor, scale: Tensor, bit_width: Tensor) -> Tensor:
        found = _of_tokens(x, self.format, self.axes).zero_points
        assert found is not None
        return _in_place(found.to(scale.dtype), x, self.axes)


def _of_tokens(x: Tensor, fmt: Format, axes: tuple[int, ...]) -> Quantized:
    ends = tuple(range(-len(axes), 0))
    return fmt.quantize(x.movedim(axes, ends).flatten(-len(axes)), axis=-1)


def _in_place(found: Tensor, x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """One number per token as a tensor that broadcasts to `x`."""
    inside = {axis % x.ndim for axis in axes}
    return found.reshape([1 if i in inside else n for i, n in enumerate(x.shape)])


@functools.cache
def rounds_first() -> Any:
    """Brevitas' integers, with the zero point added to what is rounded, as formats have it, and not before that.

    Half-way between two codes the two differ where the zero point is odd: ties go to the even number.
    """
    from brevitas.core.quant.int_base import IntQuant

    class RoundsFirst(IntQuant):  # type: ignore[misc]  # the package carries no types
        """`IntQuant` that rounds ``x / scale`` before it adds the zero point."""

        def to_int(self, scale: Tensor, zero_point: Tensor, bit_width: Tensor, x: Tensor) -> Tensor:
            x = self.input_view_impl(x)
            rounded = self.float_to_int_impl(x / scale) + zero_point
            clamped: Tensor = self.tensor_clamp_impl(
                rounded, min_val=self.min_int(bit_width), max_val=self.max_int(bit_width)
            )
            return clamped

    return RoundsFirst
