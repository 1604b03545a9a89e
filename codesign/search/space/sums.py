"""Accumulation of dot products in compute units: longest reductions, overflow checks, descriptions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.arithmetic.overflow import Reduction, check_overflow
from codesign.hardware.rtl.verify.deviation import described
from codesign.hardware.rtl.verify.twin import Twin
from codesign.workload import Workload


def longest_reductions(
    task: str, workload: Workload, pairs: Sequence[FormatPair], allowed: np.ndarray
) -> Iterable[Reduction]:
    """For each pair, the longest dot product among the layers that may take it.

    Args:
        task: name of the network.
        workload: its operators.
        pairs: the space's pairs.
        allowed: which pair a layer may take, bool [layers, pairs].
    """
    longest = dict.fromkeys(workload.layers, 0)
    for op in workload.operators:
        longest[op.layer] = max(longest[op.layer], op.k)
    for pair, column in zip(pairs, allowed.T, strict=True):
        layers = [layer for layer, ok in zip(longest, column, strict=True) if ok]
        if layers:
            layer = max(layers, key=longest.__getitem__)
            yield Reduction(task, layer, pair, longest[layer])


def check_unit(unit: MacUnit, reductions: Iterable[Reduction]) -> None:
    """Raise InputError if the unit's accumulator cannot hold a pair's products, or could overflow."""
    for pair in unit.pairs:
        Twin(pair, unit.accumulator, lanes(unit, pair))
    check_overflow(unit, reductions)


def in_words(pair: FormatPair, unit: MacUnit) -> str:
    """A description of how this unit sums the products of a pair."""
    return described(pair, unit.accumulator, lanes(unit, pair))


def lanes(unit: MacUnit, pair: FormatPair) -> int:
    """The number of products of `pair` that the unit sums in one step."""
    return unit.dot * unit.rate(pair)
