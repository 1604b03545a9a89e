"""The loss that the accumulators of compute units cause in the layers of a study."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.arithmetic.overflow import resolved
from codesign.hardware.rtl.verify.deviation import deviation
from codesign.quality import Evaluator, LayerOperands, sample_operands
from codesign.search.space.sums import lanes


class Accumulation:
    """SQNR of the accumulation in a study's layers, each computed once on operands of a calibration pass.

    An integer or fixed-point accumulator that passed `check_unit` is exact, and not computed, unless it saturates.
    """

    def __init__(self, evaluators: Mapping[str, Evaluator]) -> None:
        self._evaluators = evaluators
        self._operands: dict[str, dict[str, list[LayerOperands]]] = {}
        self._sqnr_db: dict[tuple[str, str, FormatPair, str, int], float] = {}

    def __len__(self) -> int:
        """Number of layers computed so far."""
        return len(self._sqnr_db)

    def sqnr_db(self, task: str, layer: str, pair: FormatPair, unit: MacUnit) -> float:
        """SQNR in dB of the unit's dot products against exact ones, the least over a layer's products; inf if exact."""
        found = resolved(pair, unit.accumulator)
        if not found.significand and not found.saturates:
            return inf
        key = task, layer, pair, unit.accumulator, lanes(unit, pair)
        if key not in self._sqnr_db:
            self._sqnr_db[key] = min(self._deviation(task, operands, pair, unit) for operands in self._of(task)[layer])
        return self._sqnr_db[key]

    def _deviation(self, task: str, operands: LayerOperands, pair: FormatPair, unit: MacUnit) -> float:
        evaluator = self._evaluators[task]
        ranges, weight = operands.ranges(pair, evaluator.network.ranges), operands.weight(pair, evaluator.chosen)
        bits = unit.uncut.accumulator_bits
        found = deviation(
            pair, unit.accumulator, lanes(unit, pair), weight, operands.streamed, ranges=ranges, bits=bits
        )
        return found.sqnr_db

    def _of(self, task: str) -> dict[str, list[LayerOperands]]:
        if task not in self._operands:
            found: dict[str, list[LayerOperands]] = {}
            for operands in sample_operands(self._evaluators[task].task):
                found.setdefault(operands.layer, []).append(operands)
            self._operands[task] = found
        return self._operands[task]


def sums_alike(unit: MacUnit, other: MacUnit, pair: FormatPair) -> bool:
    """Whether both units sum the products of a pair identically: same accumulator, same number of lanes."""
    same = unit.accumulator == other.accumulator and other.supports(pair)
    return same and lanes(unit, pair) == lanes(other, pair)
