"""Total costs of fixed assignments of one network on many accelerators: `cost` without its breakdown, vectorised.

Unlike `CostTables`, which prices every layer in every pair, this prices products of equal shape and formats once and
stores nothing per layer, so that its memory does not grow with the network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from codesign.formats import Assignment, FormatPair
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory import compression_ratios
from codesign.hardware.schedule.footprint import Footprint, layer_passes, network_sizes
from codesign.hardware.schedule.machine import Machine, supported_pairs
from codesign.hardware.schedule.operators import operator_pairs
from codesign.workload.types import Operator, Workload

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SUMS = ("latency_s", "latency_per_token_s", "energy_j", "dram_bytes")
_Product = tuple[Operator, int]  # (anonymous operator, passes of its layer)


class AssignmentTotals:
    """Total costs of S assignments of `workload` on any grid. Raises InputError as `operator_pairs` does.

    Attributes: ``pairs`` [C], all pairs of the assignments; ``needed``, bool [S, C], the pairs of each.
    """

    def __init__(self, workload: Workload, assignments: Sequence[Assignment]) -> None:
        chosen = [operator_pairs(workload, assignment) for assignment in assignments]
        self.pairs = tuple(dict.fromkeys(pair for pairs in chosen for pair in pairs))
        self.needed = np.array([[pair in pairs for pair in self.pairs] for pairs in map(set, chosen)])
        self._footprint = Footprint.of(workload)
        self._decodes = "decode" in workload.phases
        self._sizes = [network_sizes(workload, pairs) for pairs in chosen]
        # pair -> product -> how often each assignment runs it, [S, 2]: per result, per token
        self._counts: dict[FormatPair, dict[_Product, Floats]] = {
            pair: defaultdict(lambda: np.zeros((len(chosen), 2))) for pair in self.pairs
        }
        passes = layer_passes(workload)
        for i, op in enumerate(workload.operators):
            product = op.anonymous, passes[op.layer]
            for s, pairs in enumerate(chosen):
                self._counts[pairs[i]][product][s] += workload.repeats.get(op.phase, 1), op.phase == "decode"

    def on(self, grid: AcceleratorGrid) -> dict[str, Floats]:
        """All of `tables.FIELDS` that the workload has, except the area: float64 [A, S].

        All fields are infinite where an accelerator lacks a pair, its SRAM is too small for a tile, or its DRAM is too
        small for the network.
        """
        supported = supported_pairs(grid, self.pairs)
        runs = (supported[:, None, :] | ~self.needed).all(axis=2)
        sums = np.zeros((len(_SUMS), len(self.needed), len(grid)))
        for c, pair in enumerate(self.pairs):
            using = np.flatnonzero(self.needed[:, c])
            members = np.flatnonzero(runs[:, using].any(axis=1))
            if len(members):
                sums[:, using[:, None], members] += self._of_pair(pair, using, grid, members)
        stored, others = self._stored(grid), np.array([size.other_bytes for size in self._sizes])
        needed = others + np.where(grid.has_flash[:, None], 0.0, stored)
        possible = runs & np.isfinite(sums[0].T) & (needed <= grid.dram_gib[:, None] * 2.0**30)
        found = dict(zip(_SUMS, sums.transpose(0, 2, 1), strict=True))
        if not self._decodes:
            del found["latency_per_token_s"]
        found["dram_capacity_bytes"] = stored + others
        found["weight_bytes"] = np.tile([sum(size.weight_bytes.values()) for size in self._sizes], (len(grid), 1))
        found["bitops"] = np.tile([size.bitops for size in self._sizes], (len(grid), 1))
        for values in found.values():
            values[~possible] = np.inf
        return found

    def _stored(self, grid: AcceleratorGrid) -> Floats:
        """Bytes of compressed weights, [A, S]."""
        raw = np.array([[size.weight_bytes.get(pair, 0.0) for size in self._sizes] for pair in self.pairs])
        return np.asarray((1 / compression_ratios(grid, self.pairs) @ raw)[grid.codec])

    def _of_pair(self, pair: FormatPair, using: Ints, grid: AcceleratorGrid, members: Ints) -> Floats:
        """Contribution of the products in one pair to _SUMS, [sums, using, members]."""
        machine = Machine(grid, (pair,), self._footprint, np.zeros_like(members), members)
        sums = np.zeros((len(_SUMS), len(using), len(members)))
        for (op, passes), counts in self._counts[pair].items():
            product = machine.run(op, passes)
            seconds, joules = product.latency_s, product.energy_j
            for s, (times, of_token) in enumerate(counts[using]):
                if times:
                    sums[0, s] += times * seconds
                    sums[2, s] += times * joules
                    sums[3, s] += times * product.dram_bytes
                if of_token:
                    sums[1, s] += of_token * seconds
        return sums
