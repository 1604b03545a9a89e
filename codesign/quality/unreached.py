"""Losses of layers that no gradient of the outputs reaches, measured: one evaluation for each layer and format pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from codesign.formats import Assignment, FormatPair
from codesign.models.task import Outputs
from codesign.quality.evaluator import Evaluator

Losses = dict[tuple[str, FormatPair], float]
Step = Callable[[int, int, str], None]  # done, total, the layer


def measured_losses(
    evaluator: Evaluator,
    layers: Sequence[str],
    pairs: Sequence[FormatPair],
    probes: int,
    generator: torch.Generator,
    step: Step,
) -> Losses:
    """Raw loss if one of `layers` uses a pair and all others stay float, on the scale of the estimate by gradients.

    The estimate is E (v . J delta)^2, see `codesign.quality.sensitivity.sensitivities`; here the outputs' own change
    stands in the place of J delta. A pair that changes no output in all `layers` at once has a loss of 0 in each. A
    loss is infinite where the outputs are not finite. step: called before each evaluation.
    """
    exact = dict.fromkeys(evaluator.layers, FormatPair.parse("fp32"))

    def changes(formats: dict[str, FormatPair]) -> Iterator[Outputs]:
        """Of every batch."""
        assignment = Assignment.of_pairs(exact | formats, evaluator.layers)
        for outputs, reference in zip(evaluator.batches(assignment), evaluator.reference(), strict=True):
            yield {name: _wide(y) - _wide(reference[name]) for name, y in outputs.items()}

    losses = {(layer, pair): 0.0 for layer in layers for pair in pairs}
    felt = [pair for pair in pairs if _any(changes(dict.fromkeys(layers, pair)))]
    cotangents = [_probes(evaluator, batch, probes, generator) for batch in evaluator.reference()] if felt else []
    total = len(layers) * len(felt)
    for done, (layer, pair) in enumerate((layer, pair) for layer in layers for pair in felt):
        step(done, total, layer)
        found = zip(changes({layer: pair}), cotangents, strict=True)
        parts = [(_samples(change), _loss(change, probed)) for change, probed in found]
        losses[layer, pair] = sum(count * loss for count, loss in parts) / sum(count for count, _ in parts)
    return losses


def _any(changes: Iterator[Outputs]) -> bool:
    return any(bool(d.any()) for change in changes for d in change.values())


def _samples(change: Outputs) -> int:
    return len(next(iter(change.values())))


def _loss(change: Outputs, cotangents: Sequence[Outputs]) -> float:
    """Mean over the probes of (v . change)^2, summed over samples, whose errors are taken as independent."""
    if any(not bool(d.isfinite().all()) for d in change.values()):
        return float("inf")
    dots = [sum(_rows(v[name] * d) for name, d in change.items() if name in v) for v in cotangents]
    return float(sum(torch.as_tensor(d).square().sum() for d in dots)) / len(cotangents)


def _rows(x: Tensor) -> Tensor:
    return x.reshape(len(x), -1).sum(dim=1)


def _wide(x: Tensor) -> Tensor:
    return torch.as_tensor(x).double()


def _probes(evaluator: Evaluator, batch: Outputs, count: int, generator: torch.Generator) -> list[Outputs]:
    """The vectors v of `count` probes: the derivatives of `Task.probe` by the outputs of a batch that it reads."""
    found = []
    for _ in range(count):
        # a copy: what was made in inference mode has no gradient; classes are numbers here
        leaves = {n: _wide(y).clone().requires_grad_() for n, y in batch.items()}
        with torch.enable_grad():
            probe = evaluator.task.probe(leaves, generator)
        gradients = torch.autograd.grad(probe, list(leaves.values()), allow_unused=True)
        found.append({n: g for n, g in zip(leaves, gradients, strict=True) if g is not None})
    return found
