"""Equalize and smooth: channels between layers are scaled, so that no layer has both large and small ones.

Between a layer whose output channel c has the weights W1[c] and layers that read it by W2[:, c], a factor s_c > 0
passes through everything that is positively homogeneous: W1[c] / s_c (and its bias) before W2[:, c] s_c computes the
same.

    equalize  s_c = sqrt(max|W1[c]| / max|W2[:, c]|), after which both ranges are equal (Nagel et al., "Data-Free
              Quantization Through Weight Equalization and Bias Correction", 2019, section 4.1)
    smooth    s_c = max|X_c|^alpha / max|W2[:, c]|^(1 - alpha) with the activations X (Xiao et al., "SmoothQuant", 2023,
              equation 4); the gain of a norm takes the factor, too
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codesign.models.preparation.changes import Change, Journal
from codesign.models.preparation.fold import Found, by_input, layers, spread_of
from codesign.models.preparation.norms import Gain, gains
from codesign.models.preparation.record import Record
from codesign.models.preparation.running import same_noise
from codesign.models.preparation.types import Match, Step, Unmatched
from codesign.models.preparation.walk import Spread, channel_labels, walk
from codesign.models.preparation.weighted import Weighted, exact, of_weight, own_bias, products
from codesign.models.task import Task
from codesign.workload import Product, ProductInterceptor

ALPHA = 0.5  # SmoothQuant's share of the difficulty that weights take
ROUNDS = 20  # of equalization: layers in a chain change each other's ranges
SETTLED = 1e-3  # largest logarithm of a factor after which a further round changes nothing
_FARTHEST = 1e4  # a factor that is farther from 1 has a channel that does next to nothing
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Pair:
    """A layer, and the layers that read its output."""

    source: Weighted
    spread: Spread

    def rescale(self, journal: Journal, factors: Tensor) -> None:
        """Divide the output channels by factors [out], and multiply what reads them."""
        source = self.source
        journal.write(source.weight, source.scaled_outputs(1 / factors))
        if source.bias is not None:
            journal.write(source.bias, exact(source.bias) / factors)
        _read_scaled(journal, self.spread, factors)


def _read_scaled(journal: Journal, spread: Spread, factors: Tensor) -> None:
    for sink in spread.weights:
        journal.write(sink.product.weight, sink.product.scaled_inputs(by_input(sink, factors)))


def pairs(record: Record, step: Step) -> tuple[list[Pair], list[Unmatched]]:
    """Layers whose output reaches other layers through positively homogeneous functions, for some channels at least."""
    found, refused = list[Pair](), list[Unmatched]()
    every = products(record)
    for weight in {id(each.weight): each.weight for each in every}.values():
        first = next(each for each in every if each.weight is weight)
        mine = of_weight(record, every, weight)
        if mine is None or not own_bias(record, mine):
            refused.append(Unmatched(step, first.layer, "its weight or bias is also used elsewhere"))
            continue
        axis, channels = first.output_axis, first.sizes[1]
        labels = {each.output: channel_labels(record.values[each.output].shape, axis) for each in mine}
        spread = walk(record, labels, channels)
        if any(sink.product.weight is weight for sink in spread.sinks):
            refused.append(Unmatched(step, first.layer, "it reads its own output"))
        elif bool(spread.free.any()):
            found.append(Pair(first, spread))
        else:
            refused.append(Unmatched(step, first.layer, spread.reason))
    return found, refused


def equalized(record: Record) -> tuple[dict[Pair, Change], list[Unmatched]]:
    """Pairs of layers, each with the change that makes the ranges of weights on both sides equal."""
    found, refused = pairs(record, "equalize")
    return {each: _equal(each) for each in found}, refused


def _equal(pair: Pair) -> Change:
    def apply(journal: Journal) -> None:
        pair.rescale(journal, equalizing(pair))

    what = "ranges of the channels between layers"
    return Change(Match("equalize", what, (pair.source.layer, *layers(pair.spread))), apply, pair.spread.channels)


def equalizing(pair: Pair) -> Tensor:
    """The factors [out] that make the ranges of a pair equal; 1 where a channel must stay, or is zero."""
    before, after = pair.source.output_ranges(), _read_ranges(pair.spread)
    return _bounded((before / after.clamp_min(_TINY)).sqrt(), pair.spread, (before > _TINY) & (after > _TINY))


def unsettled(found: list[Pair]) -> float:
    """The largest logarithm of a factor that a further round would apply."""
    return max((float(equalizing(pair).log().abs().max()) for pair in found), default=0.0)


def _read_ranges(spread: Spread) -> Tensor:
    """The largest magnitude of the weights that read each channel, float64 [channels]."""
    found = torch.zeros(spread.channels, dtype=torch.float64)
    for sink in spread.weights:
        there = sink.labels >= 0
        found.scatter_reduce_(0, sink.labels[there], sink.product.input_ranges()[there], "amax")
    return found


def _bounded(factors: Tensor, spread: Spread, there: Tensor) -> Tensor:
    return torch.where(spread.free & there, factors.clamp(1 / _FARTHEST, _FARTHEST), 1.0)


# ---- smooth -------------------------------------------------------------------------------------


def smoothed(record: Record, magnitudes: Mapping[str, Tensor]) -> Found:
    """Large activations into the weights that meet them, behind norms and between layers.

    magnitudes: the largest magnitude of each input channel of each layer, see `input_magnitudes`.
    """
    between, refused = pairs(record, "smooth")
    # from the last layer to the first: a layer's outputs are scaled before the weights of its inputs are looked at
    found: Found = [_smooth_pair(each, magnitudes) for each in reversed(between)]
    for each in gains(record):
        spread = spread_of(record, each)
        if bool(spread.free.any()):
            found.append(_smooth_norm(each, spread, magnitudes))
        else:
            found.append(Unmatched("smooth", each.name, spread.reason))
    return [*found, *refused]


def _smooth_norm(each: Gain, spread: Spread, magnitudes: Mapping[str, Tensor]) -> Change:
    def apply(journal: Journal) -> None:
        factors = _smoothing(spread, magnitudes)
        journal.write(each.gain, each.factors / factors - each.offset)
        if each.shift is not None:
            journal.write(each.shift, exact(each.shift) / factors)
        _read_scaled(journal, spread, factors)

    return Change(Match("smooth", "activations behind a norm", (each.name, *layers(spread))), apply, spread.channels)


def _smooth_pair(pair: Pair, magnitudes: Mapping[str, Tensor]) -> Change:
    def apply(journal: Journal) -> None:
        pair.rescale(journal, _smoothing(pair.spread, magnitudes))

    return Change(
        Match("smooth", "activations between layers", (pair.source.layer, *layers(pair.spread))),
        apply,
        pair.spread.channels,
    )


def _smoothing(spread: Spread, magnitudes: Mapping[str, Tensor]) -> Tensor:
    """SmoothQuant's factors [channels]; 1 where a channel must stay, or is zero."""
    activations = torch.zeros(spread.channels, dtype=torch.float64)
    for sink in spread.weights:
        there = sink.labels >= 0
        activations.scatter_reduce_(0, sink.labels[there], magnitudes[sink.product.layer][there], "amax")
    weights = _read_ranges(spread)
    factors = activations.clamp_min(_TINY) ** ALPHA / weights.clamp_min(_TINY) ** (1 - ALPHA)
    return _bounded(factors, spread, (activations > _TINY) & (weights > _TINY))


@torch.no_grad()
def input_magnitudes(task: Task, module: nn.Module) -> dict[str, Tensor]:
    """The largest magnitude of each input channel of each layer in the calibration run, float64 [in]."""
    found: dict[str, Tensor] = {}

    def look(product: Product) -> None:
        if product.kind not in ("conv", "linear"):
            return
        seen = product.input.detach().movedim(product.input_axis, -1).flatten(0, -2).abs().amax(0).double().cpu()
        known = found.get(product.layer)
        found[product.layer] = seen if known is None else torch.maximum(known, seen)

    with ProductInterceptor(module, look), same_noise(task, module):
        task.calibrate(module)
    return found
