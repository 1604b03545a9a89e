"""Products with a weight: linear layers and convolutions, whose rows and columns are scaled, rotated or shifted.

A weight is looked at as [groups, outputs / groups, inputs / groups, taps], whatever its layout in the module is:
linear [out, in], a right operand of matmul or addmm [in, out], convolution [out, in / groups, ...], transposed
convolution [in, out / groups, ...].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from codesign.models.preparation.functions import CONVOLUTIONS, TRANSPOSED
from codesign.models.preparation.hadamard import Rotation
from codesign.models.preparation.record import Op, Record, Ref


@dataclass(frozen=True, eq=False)
class Weighted:
    """One product with a weight."""

    layer: str
    op: Op
    kind: str  # linear | matmul | conv | transposed
    weight: nn.Parameter
    bias: nn.Parameter | None
    takes_bias: nn.Module | None  # the module that can be given a bias, if it has none
    foreign: bool  # whether something that is no parameter is added
    input: int  # value
    output: int
    input_axis: int  # of the channels
    output_axis: int
    groups: int
    padded: bool  # whether zeros are added around the input

    def bias_now(self) -> Tensor:
        """The bias, or one that was given since, float64 [out]; zeros without one."""
        given = None if self.takes_bias is None else self.takes_bias._parameters.get("bias")
        bias = given if self.bias is None else self.bias
        return torch.zeros(self.sizes[1], dtype=torch.float64) if bias is None else exact(bias)

    @property
    def sizes(self) -> tuple[int, int]:
        """(input channels, output channels)"""
        first, second = self.weight.shape[:2]
        if self.kind == "matmul":
            return first, second
        return (first, second * self.groups) if self.kind == "transposed" else (second * self.groups, first)

    def canonical(self) -> Tensor:
        """The weight as [groups, outputs / groups, inputs / groups, taps] in float64."""
        w, g = exact(self.weight), self.groups
        if self.kind == "matmul":
            w = w.t()
        if self.kind in ("linear", "matmul"):
            return w[None, :, :, None]
        if self.kind == "transposed":
            return w.reshape(g, w.shape[0] // g, w.shape[1], -1).transpose(1, 2)
        return w.reshape(g, w.shape[0] // g, w.shape[1], -1)

    def input_ranges(self) -> Tensor:
        """The largest magnitude of the weights that each input channel meets, [in] float64."""
        return self.canonical().abs().amax((1, 3)).flatten()

    def output_ranges(self) -> Tensor:
        """The largest magnitude of the weights of each output channel, [out] float64."""
        return self.canonical().abs().amax((2, 3)).flatten()

    def scaled_inputs(self, scale: Tensor) -> Tensor:
        """The weight, float64, with that of each input channel multiplied by scale [in]."""
        return self._scaled(scale, of_outputs=False)

    def scaled_outputs(self, scale: Tensor) -> Tensor:
        """The weight, float64, with that of each output channel multiplied by scale [out]."""
        return self._scaled(scale, of_outputs=True)

    def _scaled(self, scale: Tensor, *, of_outputs: bool) -> Tensor:
        w, g = exact(self.weight), self.groups
        taps = (1,) * (w.ndim - 2)
        if of_outputs == (self.kind in ("linear", "conv")):  # the first axis holds all channels, the second a group's
            return w * scale.view(-1, 1, *taps)
        rows = w.shape[0] // g
        return w * scale.view(g, 1, -1).expand(g, rows, -1).reshape(w.shape[0], -1, *taps)

    def answer(self, inputs: Tensor) -> Tensor:
        """The output [out] for a constant input [in], float64, without bias and away from padding."""
        g = self.groups
        return (self.canonical().sum(3) @ inputs.double().view(g, -1, 1)).flatten()

    @property
    def turns(self) -> bool:
        """Whether its inputs and outputs can be rotated: not those of a convolution in groups."""
        return self.kind in ("linear", "matmul") or (self.kind == "conv" and self.groups == 1)

    def rotated_inputs(self, rotation: Rotation, blocks: Sequence[int] = (0,)) -> Tensor:
        """The weight, float64, for inputs x R instead of x, where R rotates some blocks of channels."""
        return rotated(exact(self.weight), rotation, blocks, axis=0 if self.kind == "matmul" else 1)

    def rotated_outputs(self, rotation: Rotation, blocks: Sequence[int] = (0,)) -> Tensor:
        """The weight, float64, for outputs y R instead of y, where R rotates some blocks of channels."""
        return rotated(exact(self.weight), rotation, blocks, axis=1 if self.kind == "matmul" else 0)


def rotated(x: Tensor, rotation: Rotation, blocks: Sequence[int] = (0,), *, axis: int = -1) -> Tensor:
    """A tensor, of whose channels along an axis some blocks are rotated, each of the size of the rotation."""
    last = x.movedim(axis, -1)
    parts = last.reshape(*last.shape[:-1], -1, len(rotation)).clone()
    parts[..., list(blocks), :] = rotation(parts[..., list(blocks), :])
    return parts.reshape(last.shape).movedim(-1, axis)


def exact(tensor: Tensor) -> Tensor:
    """A tensor in float64 on the CPU, where all weights are computed."""
    return tensor.detach().cpu().double()


def products(record: Record) -> list[Weighted]:
    """All products with a parameter as their weight, in order."""
    return [found for op in record.ops if (found := weighted(record, op)) is not None]


def weighted(record: Record, op: Op) -> Weighted | None:
    """The product that an op is; None for any other op."""
    if len(op.writes) != 1:
        return None
    if op.name == "linear" or op.name in CONVOLUTIONS + TRANSPOSED:
        x, w, b = (_argument(op, i, name) for i, name in enumerate(("input", "weight", "bias")))
        kind = "linear" if op.name == "linear" else "transposed" if op.name in TRANSPOSED else "conv"
    elif op.name in ("matmul", "mm"):
        x, w, b, kind = _argument(op, 0, "input"), _argument(op, 1, "mat2"), None, "matmul"
    elif op.name == "addmm" and not op.kwargs and len(op.args) == 3:
        b, x, w, kind = *op.args, "matmul"
    else:
        return None
    weight = _parameter(record, w)
    if weight is None or not isinstance(x, Ref) or _parameter(record, x) is not None:
        return None
    if kind in ("linear", "matmul") and weight.ndim != 2:
        return None
    bias = _parameter(record, b)
    call = record.module_of(op)
    module = call.module if call is not None else None
    plain = isinstance(module, (nn.Linear, _ConvNd)) and module._parameters.get("weight") is weight
    axis = -1 if kind in ("linear", "matmul") else 1 - weight.ndim
    groups = _argument(op, 6, "groups") if kind in ("conv", "transposed") else 1
    padding = _argument(op, 4, "padding") if kind == "conv" else None
    return Weighted(
        layer=record.layer(weight, op),
        op=op,
        kind=kind,
        weight=weight,
        bias=bias,
        takes_bias=module if plain and module is not None and module._parameters.get("bias", 0) is None else None,
        foreign=b is not None and (bias is None or bias.ndim != 1),
        input=x.value,
        output=op.writes[0],
        input_axis=axis,
        output_axis=axis,
        groups=groups if isinstance(groups, int) else 1,
        padded=kind == "transposed" or not {None, "valid", 0}.issuperset(_listed(padding)),
    )


def _argument(op: Op, place: int, name: str) -> object:
    return op.args[place] if place < len(op.args) else op.kwargs.get(name)


def _listed(padding: object) -> tuple[object, ...]:
    return tuple(padding) if isinstance(padding, (tuple, list)) else (padding,)


def _parameter(record: Record, ref: object) -> nn.Parameter | None:
    return record.values[ref.value].parameter if isinstance(ref, Ref) else None


def of_weight(record: Record, found: list[Weighted], weight: Tensor) -> list[Weighted] | None:
    """All products of a weight; None if anything else reads it."""
    mine = [each for each in found if each.weight is weight]
    return mine if {each.op.number for each in mine} == set(record.uses(weight)) else None


def own_bias(record: Record, mine: list[Weighted]) -> bool:
    """Whether the bias of some products of one weight is theirs alone."""
    if any(each.foreign for each in mine) or len({id(each.bias) for each in mine}) != 1:
        return False
    bias = mine[0].bias
    return bias is None or {each.op.number for each in mine} == set(record.uses(bias))
