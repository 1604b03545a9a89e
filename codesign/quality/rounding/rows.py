"""Weights as rows: one row of T taps x C channels for each output, in the order in which blocks run along channels."""

from __future__ import annotations

import torch
from torch import Tensor

from codesign.formats.format import Quantized
from codesign.workload import Product


def rows_of(product: Product, weight: Tensor | None = None) -> Tensor:
    """The weight of a conv or linear product as [G, N, T, C]: groups, outputs of a group, taps, channels.

    weight: a tensor of the weight's shape to arrange in its place.
    """
    w = product.stationary if weight is None else weight
    if product.kind != "conv":
        moved = w.movedim(product.stationary_axis, -1)
        return moved.reshape(1, -1, 1, moved.shape[-1])
    groups = product.groups
    if is_transposed(product):
        inputs, outputs, *taps = w.shape
        grouped = w.reshape(groups, inputs // groups, outputs, *taps).transpose(1, 2)
        return grouped.flatten(3).transpose(2, 3)
    return w.reshape(groups, w.shape[0] // groups, w.shape[1], -1).transpose(2, 3)


def weight_of(product: Product, rows: Tensor) -> Tensor:
    """Inverse of `rows_of`: rows [G, N, T, C] as a tensor with the shape and strides of the product's weight."""
    w = product.stationary
    if product.kind != "conv":
        moved = w.movedim(product.stationary_axis, -1)
        found = rows.reshape(moved.shape).movedim(-1, product.stationary_axis)
    elif is_transposed(product):
        inputs, outputs, *taps = w.shape
        found = rows.transpose(2, 3).unflatten(3, taps).transpose(1, 2).reshape(inputs, outputs, *taps)
    else:
        found = rows.transpose(2, 3).reshape(w.shape)
    return torch.empty_like(w).copy_(found)  # keeps channels-last strides


def is_transposed(product: Product) -> bool:
    """Whether a convolution is a transposed one, whose weight is [in, out / groups, ...]."""
    return product.kind == "conv" and product.stationary_axis % product.stationary.ndim == 0


def values_of(product: Product, quantized: Quantized) -> Tensor:
    """The weight that `quantized`, rows [G * N, T, C] or [G * N, T * C], stands for, in the weight's own shape."""
    shape = rows_of(product).shape
    return weight_of(product, quantized.dequantize().reshape(shape))
