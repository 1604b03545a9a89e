"""Checks a metric before a search relies on it: on the float network and on a coarsely quantized one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from math import inf

import torch

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.models.task import Outputs
from codesign.quality.evaluator import Evaluator
from codesign.quality.measure import Quality, UnmeasurableError

COARSE = FormatPair("int2", "int2")  # three values
WHOLE = FormatPair("fp32", "fp32")
_REPEATED = 1e-4  # of the largest output: what the order of sums may change, in float32


def try_network(evaluator: Evaluator) -> None:
    """Check that the float network is one that assignments can be compared with.

    Raises InputError where its outputs hold no number, a second run gives other outputs (live dropout, a cache or state
    that grows, unseeded noise), or fp32 in every layer, which changes nothing, does.
    """
    task, name = evaluator.task, evaluator.task.name
    reference = evaluator.reference()
    for key, output in ((key, output) for batch in reference for key, output in batch.items()):
        if output.is_floating_point() and not bool(output.isfinite().any()):
            raise InputError(f"{name}: the float network's own output '{key}' holds nothing but NaN and infinity")
    again = _farthest(reference, evaluator.reference_again())
    if again > _REPEATED:
        raise InputError(
            f"{name}: the float network run twice on the same data differs from itself by {again:.3g} of its largest "
            "output: is dropout on, does a cache or state grow from call to call, is noise drawn without a seed?"
        )
    whole = Assignment.of_pairs(dict.fromkeys(evaluator.layers, WHOLE), evaluator.layers)
    same = _farthest(reference, evaluator.batches(whole))
    if same == inf:
        raise InputError(
            f"{name}: NaN and infinities of the float network's data or outputs are others with fp32 in every layer, "
            "as formats saturate at their largest number"
        )
    if same > _REPEATED:
        raise InputError(
            f"{name}: with fp32 in every layer the network differs from the float network by {same:.3g} of its largest "
            f"output: what it computes depends on how it is run{_half(task.module)}"
        )


def _farthest(first: Iterable[Outputs], second: Iterable[Outputs]) -> float:
    """Largest difference of two runs over the largest output of a batch; infinite where shapes or places of NaN do."""
    pairs = itertools.zip_longest(first, second)
    return max(inf if a is None or b is None else _farthest_of_batch(a, b) for a, b in pairs)


def _farthest_of_batch(first: Outputs, second: Outputs) -> float:
    worst = 0.0
    for key, a in first.items():
        b = second.get(key)
        if b is None or a.shape != b.shape:
            return inf
        if not a.is_floating_point():
            worst = worst if torch.equal(a, b) else inf
            continue
        a, b = a.double(), b.double()
        there = a.isfinite()
        if not torch.equal(there, b.isfinite()):
            return inf
        if there.any():
            largest = float(a[there].abs().max())
            worst = max(worst, float((a[there] - b[there]).abs().max()) / (largest or 1.0))
    return worst


def _half(module: torch.nn.Module) -> str:
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()}
    return f" (its weights are {', '.join(sorted(map(str, kinds)))})" if kinds - {torch.float32} else ""


def try_metric(evaluator: Evaluator) -> Quality:
    """The deciding metric of the float network's own outputs.

    Raises InputError if it is not finite, if `COARSE` in every layer is not worse (then the metric is not a loss to
    minimize, and a search would return the worst network as the best), and in the cases of `try_network`.
    """
    try_network(evaluator)
    task = evaluator.task
    name = f"{task.name}: metric '{task.deciding}'"
    try:
        own = evaluator.float_quality()
    except UnmeasurableError as error:
        raise InputError(
            f"{name} is not finite on the float network's own outputs ({error}); a loss is finite and smallest "
            f"there.{_HINTS[task.scale == 'raw']}"
        ) from None
    try:
        ruined = evaluator(Assignment.of_pairs(dict.fromkeys(evaluator.layers, COARSE), evaluator.layers)).value
    except UnmeasurableError:
        return own  # as bad as expected
    found = f"{name} is {own.value:.6g} on the float network's own outputs and {ruined:.6g} with {COARSE.weight} in "
    if ruined == own.value:
        raise InputError(f"{found}every layer: it looks at nothing that formats change, so nothing can be chosen by it")
    if ruined < own.value:
        raise InputError(
            f"{found}every layer: is it the wrong way round? Quality is a loss, smaller is better: of an accuracy or a "
            "PSNR return the negative"
        )
    if task.scale != "raw" and task.raw(ruined) > _MOST:
        raise InputError(f"{found}every layer, which is no {task.scale} of an error: is scale='{task.scale}' right?")
    return own


_MOST = 1e30  # larger raw losses indicate a wrong scale
_HINTS = {
    True: " A negated PSNR or the log10 of an error is cut off at 1e-12 if it is returned as "
    "codesign.Loss(function, scale='db') or scale='log10'",
    False: " Is it the wrong way round? Of a PSNR return the negative",
}
