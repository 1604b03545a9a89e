"""`UnitNetwork`: a scored network whose products are computed by the software twin of a design's unit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.export.certificate.matrices import Matrices
from codesign.export.certificate.operands import Coded, coded_activation, coded_weight
from codesign.export.certificate.vector import VectorUnit
from codesign.export.scored import ScoredNetwork
from codesign.formats import get_format
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.rtl.verify.products import Codes, Products
from codesign.hardware.rtl.verify.vectors import twin_of
from codesign.models.streaming import reads_blocks
from codesign.quality.quantized import summed_axes
from codesign.quality.ranges import sites
from codesign.workload import Product, ProductInterceptor

Vector = Literal["bf16", "float"]
VECTORS: tuple[Vector, ...] = ("bf16", "float")


@dataclass(frozen=True)
class Multiplied:
    """A batch of matrix products that ran."""

    layer: str
    kind: str  # conv | linear | attention_qk | attention_pv
    mode: int  # of the unit
    weight: Codes
    activation: Codes
    values: Tensor  # of the accumulators, float64 [B, M, N]


class UnitNetwork:
    """A scored network in the arithmetic of a unit.

    Each product is computed from the codes of its quantized operands, in the unit's accumulator and order of sums; its
    result is scaled (by all scales outside of the unit) and biased in float64 and rounded once to the network's own
    type, and with a bf16 vector unit to bfloat16. Everything else runs as `VectorUnit` says, or in float as it was
    scored. watch: called with all matrix products, in the order in which they run; tick: at each call of the
    network's functions.
    """

    def __init__(
        self,
        scored: ScoredNetwork,
        unit: Unit,
        vector: Vector = "bf16",
        watch: Callable[[Multiplied], None] | None = None,
        tick: Callable[[], None] | None = None,
    ) -> None:
        self.scored, self.unit, self.vector = scored, unit, vector
        self.watch, self.tick = watch, tick
        self._products = [Products(twin_of(unit, mode, 1)) for mode in range(len(unit.pairs))]
        self._weights: dict[str, Coded] = {}
        self._vector: VectorUnit | None = None
        with scored.evaluator.network.under(scored.assignment):
            pass  # rounds the weights of all layers in one pass over the calibration data, not in one for each

    def mode_of(self, layer: str, kind: str) -> int:
        """The mode of the unit that multiplies a layer; raises InputError if it has none."""
        pair = self.scored.assignment[layer].pair(kind).datapath
        if pair not in self.unit.pairs:
            raise InputError(f"layer '{layer}' has the formats {pair}, which the design's unit does not multiply")
        return self.unit.pairs.index(pair)

    @contextmanager
    def under(self) -> Iterator[nn.Module]:
        """Context in which calls of the module are computed so."""
        module = self.scored.module
        self._vector = VectorUnit(module) if self.vector == "bf16" else None
        with ProductInterceptor(module, self._result, decompose=True, in_parts=True), self._vector or _nothing():
            yield module
        self._vector = None

    def _result(self, product: Product) -> Tensor:
        unit = self._vector
        if self.tick is not None:
            self.tick()
        with torch.no_grad(), unit.paused() if unit is not None else _nothing():
            result = self._computed(product).to(product.input.dtype)
            return result if unit is None else unit.mark(result)

    def _computed(self, product: Product) -> Tensor:
        layers = self.scored.assignment
        if product.layer not in layers:
            raise InputError(f"layer '{product.layer}' has no formats{nearest(product.layer, list(layers))}")
        mode = self.mode_of(product.layer, product.kind)
        pair = layers[product.layer].pair(product.kind)
        (site, other), (axes, other_axes) = sites(product), summed_axes(product)
        network, fmt = self.scored.evaluator.network, get_format(pair.activation)
        x = coded_activation(product.input, fmt, axes, network.range_of(site, fmt))
        if other is None:
            w = self._weight(product.layer)
        else:
            fmt = get_format(pair.weight)
            w = coded_activation(product.stationary, fmt, other_axes, network.range_of(other, fmt))

        def multiply(weight: Codes, activation: Codes) -> Tensor:
            values = torch.from_numpy(self._products[mode](weight, activation))
            if self.watch is not None:
                self.watch(Multiplied(product.layer, product.kind, mode, weight, activation, values))
            return values

        return Matrices(product, multiply).result(x, w)

    def _weight(self, layer: str) -> Coded:
        if layer not in self._weights:
            found = coded_weight(self.scored.weight(layer))
            if reads_blocks(self.scored.module):  # memory does not hold the weights of all layers
                return found
            self._weights[layer] = found
        return self._weights[layer]


def _nothing() -> AbstractContextManager[None]:
    return contextlib.nullcontext()
