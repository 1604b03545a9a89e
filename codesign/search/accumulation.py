"""What accumulators do to the networks of a study: sums that could overflow, sums that lose too much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf

import numpy as np

from codesign.formats import FormatPair, get_format
from codesign.formats.format import Amax
from codesign.hardware import MacUnit
from codesign.hardware.arithmetic.overflow import Reduction, check_overflow, resolved
from codesign.hardware.rtl.verify.deviation import described, deviation
from codesign.hardware.rtl.verify.twin import Twin
from codesign.quality import Evaluator, Operands, sample_operands
from codesign.quality.calibration import Site
from codesign.workload import Workload


def longest_reductions(
    task: str, workload: Workload, pairs: Sequence[FormatPair], allowed: np.ndarray
) -> Iterable[Reduction]:
    """Of each pair, the layer with the longest dot product that may take it. allowed: bool [layers, pairs]."""
    longest = dict.fromkeys(workload.layers, 0)
    for op in workload.operators:
        longest[op.layer] = max(longest[op.layer], op.k)
    for pair, column in zip(pairs, allowed.T, strict=True):
        layers = [layer for layer, ok in zip(longest, column, strict=True) if ok]
        if layers:
            layer = max(layers, key=longest.__getitem__)
            yield Reduction(task, layer, pair, longest[layer])


def check_unit(unit: MacUnit, reductions: Iterable[Reduction]) -> None:
    """Raises InputError where the unit's accumulator cannot hold a pair's products, or could overflow."""
    for pair in unit.pairs:
        Twin(pair, unit.accumulator, _lanes(unit, pair))
    check_overflow(unit, reductions)


class Accumulation:
    """Signal to accumulation noise of a study's layers, each measured once on operands of a calibration pass.

    An integer or fixed-point accumulator that passed `check_unit` is exact: nothing is run for it.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator]) -> None:
        self._evaluators = evaluators
        self._operands: dict[str, dict[str, list[Operands]]] = {}
        self._measured: dict[tuple[str, str, FormatPair, str, int], float] = {}

    def __len__(self) -> int:
        """Layers measured so far."""
        return len(self._measured)

    def sqnr_db(self, task: str, layer: str, pair: FormatPair, unit: MacUnit) -> float:
        """Exact dot products over the unit's difference from them, inf where there is none; the worst of a
        layer's products."""
        if not resolved(pair, unit.accumulator).significand:
            return inf
        key = task, layer, pair, unit.accumulator, _lanes(unit, pair)
        if key not in self._measured:
            self._measured[key] = min(self._deviation(task, part, pair, unit) for part in self._of(task)[layer])
        return self._measured[key]

    def _deviation(self, task: str, part: Operands, pair: FormatPair, unit: MacUnit) -> float:
        ranges = self._range(task, part.stationary_site, pair.weight), self._range(task, part.site, pair.activation)
        lanes = _lanes(unit, pair)
        return deviation(pair, unit.accumulator, lanes, part.stationary, part.streamed, ranges=ranges).sqnr_db

    def _range(self, task: str, site: Site | None, name: str) -> Amax | None:
        """The clipping range that quality uses at `site`; None where scales come from the data."""
        fmt = get_format(name)
        if site is None or fmt.is_block or fmt.is_cast:
            return None
        return self._evaluators[task].network.ranges.get(site, fmt)

    def _of(self, task: str) -> dict[str, list[Operands]]:
        if task not in self._operands:
            found: dict[str, list[Operands]] = {}
            for part in sample_operands(self._evaluators[task].task):
                found.setdefault(part.layer, []).append(part)
            self._operands[task] = found
        return self._operands[task]


def sums_alike(unit: MacUnit, other: MacUnit, pair: FormatPair) -> bool:
    """Whether both units sum the products of a pair in the same way."""
    same = unit.accumulator == other.accumulator and other.supports(pair)
    return same and _lanes(unit, pair) == _lanes(other, pair)


def in_words(pair: FormatPair, unit: MacUnit) -> str:
    """What sums the products of a pair in this unit."""
    return described(pair, unit.accumulator, _lanes(unit, pair))


def _lanes(unit: MacUnit, pair: FormatPair) -> int:
    """Products of `pair` that the unit sums in one step."""
    return unit.dot * unit.rate(pair)
