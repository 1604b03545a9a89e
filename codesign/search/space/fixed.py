"""Networks whose formats the space gives: described by their workload, they have a cost and no quality."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codesign.errors import InputError, nearest
from codesign.formats import Assignment, FormatPair, read_assignment
from codesign.hardware.chip.files import beside
from codesign.hardware.schedule.operators import operator_pairs
from codesign.models import workload_called
from codesign.workload import Workload
from codesign.yamlio import naming


@dataclass(frozen=True)
class FixedNetwork:
    """A workload and the assignments to compare on every accelerator."""

    workload: Workload
    labels: tuple[str, ...]  # of each assignment: its uniform format pair, or the file that holds it
    assignments: tuple[Assignment, ...]

    def pairs(self) -> tuple[tuple[FormatPair, ...], ...]:
        """The distinct pairs of each assignment."""
        return tuple(tuple(dict.fromkeys(operator_pairs(self.workload, a))) for a in self.assignments)

    def allowed(self, pairs: Sequence[FormatPair]) -> np.ndarray:
        """Whether a layer takes a pair in some assignment, bool [layers, pairs]."""
        taken = {
            (op.layer, pair)
            for assignment in self.assignments
            for op, pair in zip(self.workload.operators, operator_pairs(self.workload, assignment), strict=True)
        }
        return np.array([[(layer, pair) in taken for pair in pairs] for layer in self.workload.layers])

    def fingerprint(self) -> str:
        """Hash of everything that a cost depends on."""
        text = repr((self.workload, [a.digest() for a in self.assignments]))
        return hashlib.sha256(text.encode()).hexdigest()[:24]


def resolve_fixed(
    path: Path,
    name: str,
    workload: str,
    formats: Sequence[str],
    assignment: str,
    sets: Sequence[tuple[FormatPair, ...]],
) -> FixedNetwork:
    """Resolve a fixed network of a space file.

    Args:
        path: the space file.
        name: the network's name in it.
        workload: name of a workload, or of a task.
        formats: format pairs, each for a uniform assignment; or
        assignment: a JSON file beside the space's.
        sets: sets of datapaths that the space's units support.
    Raises:
        InputError: with file and line: an unknown workload, an assignment that does not match it, or one that no unit
            supports.
    """
    with naming(path, "tasks", name, "workload"):
        found = workload_called(workload, search_path=path.parent)
    if assignment:
        with naming(path, "tasks", name, "assignment"):
            given = read_assignment(Path(beside(path, assignment)))
            operator_pairs(found, given)
        network = FixedNetwork(found, (assignment,), (given,))
    else:
        kinds, pairs = found.layer_kinds(), [FormatPair.parse(text) for text in formats]
        uniform = tuple(Assignment.of_pairs(dict.fromkeys(found.layers, pair), kinds) for pair in pairs)
        network = FixedNetwork(found, tuple(map(str, pairs)), uniform)
    for index, needed in enumerate(network.pairs()):
        with naming(path, "tasks", name, "assignment" if assignment else "formats", index):
            _check_supported(needed, sets)
    return network


def _check_supported(pairs: Sequence[FormatPair], sets: Sequence[tuple[FormatPair, ...]]) -> None:
    supported = set(itertools.chain.from_iterable(sets))
    for pair in pairs:
        if pair.datapath not in supported:
            raise InputError(f"no unit of the space supports {pair}{nearest(str(pair), sorted(map(str, supported)))}")
    if not any({pair.datapath for pair in pairs} <= set(unit) for unit in sets):
        raise InputError(f"no unit of the space supports {', '.join(map(str, pairs))} together")
