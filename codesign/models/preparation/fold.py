"""Fold: batch normalisations into the layers before them, gains and shifts of norms into the layers after them.

A batch normalisation in evaluation is y = a x + b for each channel, which the layer before it can compute (Jacob et
al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018, section 3.2).
A norm g n(x) + b before layers W (.) is n(x) before W diag(g), whose bias grows by W b.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from codesign.models.preparation.changes import Change, Journal
from codesign.models.preparation.norms import Affine, Gain, affines, gains
from codesign.models.preparation.record import Record
from codesign.models.preparation.types import Match, Step, Unmatched
from codesign.models.preparation.walk import Sink, Spread, channel_labels, walk
from codesign.models.preparation.weighted import Weighted, exact, of_weight, own_bias, products

Found = list[Change | Unmatched]
_SMALLEST = 1e-3  # of the largest gain: a smaller one is not divided by


def fold_backward(record: Record, root: nn.Module, step: Step = "fold") -> Found:
    """Batch normalisations into the products before them; an `nn.Identity` takes their place."""
    found = products(record)
    return [_backward(record, root, found, each, step) for each in affines(record)]


def _backward(record: Record, root: nn.Module, found: list[Weighted], each: Affine, step: Step) -> Change | Unmatched:
    def no(reason: str) -> Unmatched:
        return Unmatched(step, each.name, reason)

    if len(each.calls) != 1 or sum(module is each.module for _, module in _all_modules(root)) != 1:
        return no("it runs in more than one place")
    call = each.calls[0]
    source = next((p for p in found if p.output == call.input), None)
    if source is None:
        return no("its input does not come right from a layer")
    if source.output in record.outputs or any(
        call.number not in record.ops[number].calls for number in record.readers[source.output]
    ):
        return no(f"the output of {source.layer} is also read elsewhere")
    mine = of_weight(record, found, source.weight)
    if mine is None or len(mine) != 1 or not own_bias(record, mine):
        return no(f"weight or bias of {source.layer} are used elsewhere")
    if source.bias is None and source.takes_bias is None:
        return no(f"{source.layer} can be given no bias")
    if source.sizes[1] != each.factor.numel():
        return no(f"its channels are not those of {source.layer}")

    def apply(journal: Journal) -> None:
        journal.write(source.weight, source.scaled_outputs(each.factor))
        set_bias(journal, source, source.bias_now() * each.factor + each.shift)
        parent, _, key = each.name.rpartition(".")
        journal.put(root.get_submodule(parent)._modules, key, nn.Identity())

    return Change(
        Match(step, "batch normalisation into the layer before it", (each.name, source.layer)),
        apply,
        each.factor.numel(),
    )


def _all_modules(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return iter(root.named_modules(remove_duplicate=False))


def set_bias(journal: Journal, product: Weighted, value: Tensor) -> None:
    """Give a product a bias [out], in place of its own or as its first one."""
    if product.bias is not None:
        journal.write(product.bias, value)
        return
    assert product.takes_bias is not None
    weight = product.weight
    bias = nn.Parameter(value.to(weight.device, weight.dtype), requires_grad=weight.requires_grad)
    journal.put(product.takes_bias._parameters, "bias", bias)


def fold_forward(record: Record, step: Step = "fold") -> Found:
    """Gains and shifts of norms into the layers that read them."""
    found = products(record)
    return [_forward(record, found, each, step) for each in gains(record)]


def spread_of(record: Record, each: Gain) -> Spread:
    """Where the output of a norm goes, from all of its calls."""
    sources: dict[int, Tensor] = {}
    for call in each.calls:
        assert call.output is not None
        sources[call.output] = channel_labels(record.values[call.output].shape, each.axis)
    return walk(record, sources, each.gain.numel())


def _forward(record: Record, found: list[Weighted], each: Gain, step: Step) -> Change | Unmatched:
    spread = spread_of(record, each)
    if not bool(spread.free.all()):
        return Unmatched(step, each.name, spread.reason)
    factors, shift = each.factors, each.shift
    if bool((factors == 1).all()) and (shift is None or not bool(shift.any())):
        return Unmatched(step, each.name, "its gain is one already")
    shifts = shift is not None and moves_shift(record, found, spread)
    if "positive" in spread.passed:
        factors = factors.abs()
    if shift is not None and not shifts:  # it is divided by the gain, which may be next to nothing
        factors = torch.where(factors.abs() > _SMALLEST * factors.abs().max(), factors, 1.0)
        if bool((factors == 1).all()):
            return Unmatched(step, each.name, "its gain is one already")

    def apply(journal: Journal) -> None:
        if shift is not None:
            if shifts:
                for sink in spread.weights:
                    add_answer(journal, sink, exact(shift))
            journal.write(shift, torch.zeros_like(shift) if shifts else exact(shift) / factors)
        for sink in spread.weights:
            journal.write(sink.product.weight, sink.product.scaled_inputs(by_input(sink, factors)))
        left = torch.where(factors == 0, 1.0, each.factors / torch.where(factors == 0, 1.0, factors))
        journal.write(each.gain, left - each.offset)

    what = "gain and shift" if shifts else "gain"
    return Change(
        Match(step, f"{what} into the layers that read it", (each.name, *layers(spread))), apply, spread.channels
    )


def layers(spread: Spread) -> list[str]:
    """The names of the layers that read a value, each once."""
    return list(dict.fromkeys(sink.product.layer for sink in spread.weights))


def by_input(sink: Sink, factors: Tensor) -> Tensor:
    """The factor of each input channel of a layer: 1 where another value is read."""
    chosen = factors[sink.labels.clamp_min(0)]
    return torch.where(sink.labels >= 0, chosen, 1.0)


def moves_shift(record: Record, found: list[Weighted], spread: Spread) -> bool:
    """Whether all layers that read a value take a constant added to it into their biases."""
    if spread.passed - {"move"}:
        return False
    for sink in spread.weights:
        product = sink.product
        mine = of_weight(record, found, product.weight)
        if product.padded or product.foreign or mine is None or not own_bias(record, mine):
            return False
        if product.bias is None and (product.takes_bias is None or len({each.layer for each in mine}) > 1):
            return False
    return True


def add_answer(journal: Journal, sink: Sink, shift: Tensor) -> None:
    """Add what a layer answers to a constant shift [C] of the value that it reads to its bias."""
    product = sink.product
    given = torch.where(sink.labels >= 0, shift[sink.labels.clamp_min(0)], 0.0)
    set_bias(journal, product, product.answer(given) + product.bias_now())
