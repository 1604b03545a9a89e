"""`ScoredNetwork`: a network as it was scored, in what exporters write: codes, scales, ranges, inputs and outputs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from codesign.errors import InputError
from codesign.formats import Assignment, Format, FormatPair, LayerFormats, get_format
from codesign.formats.format import Quantized, datapath
from codesign.models import Task
from codesign.models.streaming import present
from codesign.quality import Evaluator
from codesign.quality.quantized import summed_axes
from codesign.quality.ranges import Range, Site, sites
from codesign.quality.rounding.chosen import Wanted
from codesign.quality.rounding.rows import rows_of, values_of, weight_of
from codesign.targets import Layer, layers_of
from codesign.workload import Product, ProductInterceptor


@dataclass(frozen=True)
class Operand:
    """An activation that a layer quantizes."""

    name: str  # input; of an attention query, key, probability or value
    format: Format
    range: Range | None  # that was calibrated; None for a format whose scales come from the data
    axes: tuple[int, ...]  # that its sums run over, first the one along which blocks run, see `summed_axes`
    dims: int  # of the tensor

    @property
    def scale(self) -> float | None:
        """The static scale of a format with one for the whole tensor; None if there is no such scale."""
        return None if self._static is None or self._static.scales is None else float(self._static.scales)

    @property
    def zero_point(self) -> int | None:
        """The code of 0 that goes with `scale`; None for a symmetric format."""
        return None if self._static is None or self._static.zero_points is None else int(self._static.zero_points)

    @property
    def tensor_scale(self) -> float | None:
        """The static outer scale of a format with two levels; None for others."""
        if self.range is None or not self.format.is_block:
            return None
        block = self.format.scaling.block if self.format.scaling is not None else None
        found = self.format.quantize(torch.zeros(1, block or 1), axis=-1, amax=self.range).tensor_scale
        return None if found is None else float(found)

    @cached_property
    def _static(self) -> Quantized | None:
        if self.range is None or self.format.is_block or self.format.is_cast:
            return None
        return self.format.quantize(torch.zeros(1), amax=self.range)


@dataclass(frozen=True)
class ScoredLayer:
    """A layer of a network under an assignment."""

    name: str
    formats: LayerFormats
    rules: Layer  # as the rules of targets see it
    product: Product  # the first one of the layer, without its input
    parameter: str | None  # name of the weight in the module's parameters; None if it is computed, or an attention
    operands: Mapping[str, Operand]  # by name
    bias: Tensor | None

    @property
    def kind(self) -> str:
        """conv, linear or attention."""
        return self.rules.kind

    @property
    def pair(self) -> FormatPair:
        """The pair of its formats; of an attention that of its first product."""
        return self.formats.pair("attention_qk" if self.kind == "attention" else self.kind)

    @property
    def weight_format(self) -> Format:
        """The stored format of the weight; raises InputError for an attention."""
        if self.formats.weight is None:
            raise InputError(f"layer '{self.name}' has no weight")
        return get_format(datapath(self.formats.weight))


@dataclass(frozen=True)
class Call:
    """A call of the network on real inputs, and what the scored network returned."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any


class ScoredNetwork:
    """A task's network under an assignment: the very numbers that were scored.

    Weights are rounded layer by layer when they are asked for, so that a network need not fit into memory twice.
    """

    def __init__(self, task: Task, assignment: Assignment, evaluator: Evaluator) -> None:
        evaluator.check(assignment)
        self.task = task
        self.assignment = assignment
        self.evaluator = evaluator
        self.module: nn.Module = evaluator.quantized.module  # the float network, as it was prepared
        self.layers = self._layers()
        # all in one run of the calibration data: one by one, each layer would take a run of its own
        evaluator.chosen.find(
            Wanted.of(name, layer.formats.weight, layer.formats.method)
            for name, layer in self.layers.items()
            if layer.formats.weight is not None
        )

    @property
    def weighted(self) -> dict[str, ScoredLayer]:
        """The layers that have a weight."""
        return {name: layer for name, layer in self.layers.items() if layer.formats.weight is not None}

    def weight(self, layer: str) -> Quantized:
        """The rounded weight of a layer as a matrix: codes [N, K] of a linear layer, [N, T, C] of a convolution.

        N: outputs of all groups; T: taps, in the order of the kernel; C: input channels of a group. Scales are
        [N, 1] or [N, blocks], of a convolution [N, 1, 1] or [N, T, blocks]; None for a cast.
        """
        found = self.layers[layer]
        fmt, product = found.weight_format, found.product
        with torch.no_grad(), present(self.module, product.stationary):
            chosen = self.evaluator.chosen.of_layer(layer, fmt, found.formats.method)
            rows = rows_of(product).flatten(0, 1)  # [N, T, C]
            if chosen is None:
                along = rows if fmt.is_block or fmt.is_cast else rows.flatten(1)
                chosen = fmt.quantize(along, axis=-1)
            return _shaped(chosen, rows.shape, linear=found.kind == "linear")

    def values(self, layer: str) -> Tensor:
        """The rounded weight of a layer in the shape of its parameter, dequantized."""
        product = self.layers[layer].product
        quantized = self.weight(layer)
        with present(self.module, product.stationary):
            return values_of(product, quantized)

    def in_place(self, layer: str, rows: Tensor) -> Tensor:
        """Numbers of each element of a weight, [N, K] or [N, T, C] as `weight` has them, in the parameter's shape."""
        product = self.layers[layer].product
        with present(self.module, product.stationary):
            return weight_of(replace(product, stationary=product.stationary.to(rows.dtype)), _grouped(product, rows))

    def calls(self, most: int = 4) -> list[Call]:
        """The first calls of the network on its evaluation data, with the outputs of the scored network."""
        found: list[Call] = []

        def keep(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            if len(found) < most:
                found.append(Call(*(tree_map(_copied, each) for each in (args, kwargs, output))))

        # within the context: to enter it may run the network on calibration data, for ranges and for GPTQ
        with torch.no_grad(), self.evaluator.network.under(self.assignment) as module:
            hook = module.register_forward_hook(keep, with_kwargs=True)
            try:
                for _ in self.task.batches(module):
                    if len(found) >= most:
                        break
            finally:
                hook.remove()
        return found

    def hashes(self, layer: str) -> dict[str, str]:
        """`hashes_of` the rounded weight of a layer."""
        return hashes_of(self.weight(layer))

    def _layers(self) -> dict[str, ScoredLayer]:
        rules = layers_of(self.task.workload())
        names = {id(parameter): name for name, parameter in self.module.named_parameters(remove_duplicate=False)}
        products: dict[str, dict[str, Product]] = {}
        axes: dict[Site, tuple[tuple[int, ...], int]] = {}

        def observe(product: Product) -> None:
            kinds = products.setdefault(product.layer, {})
            if product.kind in kinds:
                return
            for site, along, x in zip(
                sites(product), summed_axes(product), (product.input, product.stationary), strict=True
            ):
                if site is not None:
                    axes[site] = along, x.ndim
            kept = product.stationary if product.kind in ("conv", "linear") else product.stationary.new_empty(0)
            kinds[product.kind] = replace(product, input=product.input.new_empty(0), stationary=kept, spare=False)

        with torch.no_grad(), ProductInterceptor(self.module, observe, decompose=True):
            self.task.calibrate(self.module)
        return {
            name: self._layer(name, rules[name], products[name], names, axes)
            for name in rules
            if name in products  # a layer that calibration does not reach has no range, and `under` refuses it
        }

    def _layer(
        self,
        name: str,
        rules: Layer,
        products: Mapping[str, Product],
        names: Mapping[int, str],
        axes: Mapping[Site, tuple[tuple[int, ...], int]],
    ) -> ScoredLayer:
        formats = self.assignment[name]
        of_operands = {"input": formats.activation, "query": formats.activation, "probability": formats.activation}
        of_operands |= {"key": formats.key or "", "value": formats.value or ""}
        operands = {}
        for (layer, operand), (along, dims) in axes.items():
            if layer == name:
                fmt = get_format(of_operands[operand])
                amax = self.evaluator.network.range_of((layer, operand), fmt)
                operands[operand] = Operand(operand, fmt, amax, along, dims)
        product = next(iter(products.values()))
        weight = product.stationary
        base = weight if weight._base is None else weight._base
        parameter = names.get(id(base)) if formats.weight is not None else None
        return ScoredLayer(name, formats, rules, product, parameter, operands, self._bias(parameter, names))

    def _bias(self, parameter: str | None, names: Mapping[int, str]) -> Tensor | None:
        if parameter is None or not parameter.endswith("weight"):
            return None
        wanted = parameter.removesuffix("weight") + "bias"
        return self.module.get_parameter(wanted).detach() if wanted in names.values() else None


def hashes_of(q: Quantized) -> dict[str, str]:
    """SHA-256 of a weight's packed codes and, where there are any, its scales, zero points and outer scale."""
    found = {"codes": _digest(q.format.pack(q.codes))}
    for name in ("scales", "zero_points", "tensor_scale"):
        part = getattr(q, name)
        if part is not None:
            found[name] = _digest(part)
    return found


def _shaped(q: Quantized, shape: torch.Size, *, linear: bool) -> Quantized:
    """Rows [N, T, C] or [N, T * C] as `ScoredNetwork.weight` returns them."""
    n, taps, _ = shape
    codes = q.codes.reshape(n, -1) if linear else q.codes.reshape(shape)

    def scales(x: Tensor | None) -> Tensor | None:
        if x is None:
            return None
        return x.reshape(n, -1) if linear else x.reshape(n, taps if q.format.is_block else 1, -1)

    return replace(q, codes=codes, scales=scales(q.scales), zero_points=scales(q.zero_points), axis=codes.ndim - 1)


def _grouped(product: Product, rows: Tensor) -> Tensor:
    return rows.reshape(rows_of(product).shape)


def _copied(x: Any) -> Any:
    return x.detach().clone() if isinstance(x, Tensor) else x


def _digest(x: Tensor) -> str:
    data = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(data).hexdigest()
