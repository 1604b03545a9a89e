"""`prepared`: a task whose network was prepared for quantization, and computes what it did."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from codesign.errors import InputError, nearest
from codesign.models.preparation.changes import Change, Guard, Journal, WholeGuard, kept
from codesign.models.preparation.equalize import (
    ROUNDS,
    SETTLED,
    equalized,
    input_magnitudes,
    smoothed,
    unsettled,
)
from codesign.models.preparation.fold import Found, fold_backward, fold_forward
from codesign.models.preparation.reach import Paths, Unreached, noticing, unreached
from codesign.models.preparation.record import Record
from codesign.models.preparation.rotate import folded, heads, streams, untie
from codesign.models.preparation.types import STEPS, Match, Preparation, Step, Unmatched
from codesign.models.streaming import reads_blocks
from codesign.models.task import Task
from codesign.models.user_task import copied
from codesign.sources import digest


def prepared(task: Task, steps: Sequence[Step]) -> Task:
    """A copy of a task, with the same data and metrics, whose network was prepared by some steps in their order.

    fold      batch normalisations, gains and shifts of norms into neighbouring layers
    equalize  equal ranges of the channels between two layers
    smooth    large activations into the weights that they meet
    rotate    residual stream and values of attention into a basis without outliers; folds gains first

    Layer names stay, and so do the outputs: to 1e-4 of the largest one in every call of the calibration run. What else
    was looked at stands in ``task.preparation``. The fingerprint is a hash of the original's, the steps, the changes
    that stay and this package's code, not of the weights, whose last bits differ from machine to machine.

    Raises InputError for an unknown step, and for a network that is streamed from disk.
    """
    for step in steps:
        if step not in STEPS:
            raise InputError(f"unknown step of preparation '{step}'{nearest(step, STEPS)}")
    if reads_blocks(task.module):
        raise InputError(
            f"{task.name}: a network that is read from disk block by block cannot be prepared: with more memory "
            "(memory_gib) it is loaded whole"
        )
    made = copied(task)
    if task.bundled:
        module, made.preparation = _once(task, tuple(steps))
        made.module = copy.deepcopy(module)
    else:
        made.module, made.preparation = _checked(task, steps).result(steps)
    made.identity = _identity(task, made.preparation)
    return made


_made: dict[tuple[str, tuple[Step, ...]], tuple[nn.Module, Preparation]] = {}


def _once(task: Task, steps: tuple[Step, ...]) -> tuple[nn.Module, Preparation]:
    """The prepared network of a bundled task, made once in a process: it is loaded again and again."""
    key = task.fingerprint(), steps
    if key not in _made:
        _made[key] = _checked(task, steps).result(steps)
    return _made[key]


def _checked(task: Task, steps: Sequence[Step]) -> _Work:
    """The work of all steps, compared with the original in a whole calibration run; where it differs, step by step."""
    guard = Guard(task, _copy(task))
    paths = Paths(task, guard.rows)
    work = _Work(guard, paths).taken(steps)
    if not work.matches:
        return work
    work.guard = whole = WholeGuard(task, work.module)
    if whole.accepts()[0]:
        return work
    whole.module = _copy(task)
    return _Work(whole, paths).taken(steps)


def _copy(task: Task) -> nn.Module:
    try:
        return copy.deepcopy(task.module)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{task.name}: its network cannot be copied, so it cannot be prepared: {error}") from error


def _identity(task: Task, found: Preparation) -> str:
    """Which changes stay may depend on rounding, and so on the machine."""
    changes = (repr((each.step, each.what, each.modules)) for each in found.matches)
    return hashlib.sha256("|".join([task.fingerprint(), *found.steps, _code(), *changes]).encode()).hexdigest()[:24]


@functools.cache
def _code() -> str:
    """Hash of the code of this package."""
    folder = Path(__file__).parent
    return digest(folder.rglob("*.py"), folder)


class _Work:
    """A network, and what was done to it."""

    def __init__(self, guard: Guard, paths: Paths) -> None:
        self.task, self.module = guard.task, guard.module
        self.guard, self.paths = guard, paths
        self.matches: list[Match] = []
        self.unmatched: list[Unmatched] = []
        self._recorded: tuple[list[int], Record] | None = None

    def taken(self, steps: Sequence[Step]) -> _Work:
        for step in steps:
            self.take(step)
        return self

    def result(self, steps: Sequence[Step]) -> tuple[nn.Module, Preparation]:
        """The prepared network, and what was done to it."""
        found = Preparation(tuple(steps), tuple(self.matches), tuple(self.unmatched), self.guard.accepted)
        return self.module, found

    def take(self, step: Step) -> None:
        if step == "fold":
            self._keep(fold_backward(self._record(), self.module))
            self._keep(fold_forward(self._record()))
        elif step == "equalize":
            self._equalize()
        elif step == "smooth":
            self._keep(smoothed(self._record(), input_magnitudes(self.task, self.module)))
        else:
            self._rotate()

    def _record(self) -> Record:
        """The data flow of the network, watched again only if it holds other modules or parameters than before."""
        parts = [id(each) for each in (*self.module.modules(), *self.module.parameters())]
        if self._recorded is None or self._recorded[0] != parts:
            self._recorded = parts, self.paths.record(self.module)  # which keeps the parts, and so their ids
        return self._recorded[1]

    def _known(self, found: Found) -> Found:
        """Without the changes that a parameter which never ran could notice."""
        left = unreached(self._record(), self.module)
        return [self._unnoticed(left, each) if isinstance(each, Change) else each for each in found]

    @staticmethod
    def _unnoticed(left: Unreached, change: Change) -> Change | Unmatched:
        name = noticing(left, change.channels)
        if name is None:
            return change
        reason = f"{name}, which calibration never runs, may read or write its {change.channels} channels"
        return Unmatched(change.match.step, change.match.modules[0], reason)

    def _keep(self, found: Found) -> list[Change]:
        """Apply what was found, and note it; returns what stayed."""
        found = self._known(found)
        changes = [each for each in found if isinstance(each, Change)]
        self.unmatched += [each for each in found if isinstance(each, Unmatched)]
        stayed, refused = kept(self.guard, changes)
        self.matches += [each.match for each in stayed]
        self.unmatched += [Unmatched(each.match.step, each.match.modules[0], reason) for each, reason in refused]
        return stayed

    def _equalize(self) -> None:
        """Chains of layers change each other's ranges: what stayed is repeated until they settle."""
        pairs, refused = equalized(self._record())
        stayed = self._keep([*pairs.values(), *refused])
        left, journal = [pair for pair, change in pairs.items() if change in stayed], Journal()
        rounds = 0
        while unsettled(left) > SETTLED and rounds < ROUNDS:
            rounds += 1
            for change in stayed:
                change.apply(journal)
        if rounds and not self.guard.accepts()[0]:
            journal.undo()

    def _rotate(self) -> None:
        """Tied embeddings are untied and gains folded, if that makes a stream one that can be rotated."""
        journal = Journal()
        for place, key in untie(self._record()):
            tied = place[key]
            assert tied is not None
            journal.put(place, key, nn.Parameter(tied.detach().clone(), requires_grad=tied.requires_grad))
        record = self._record()
        folds = fold_forward(record, "rotate")
        expected = self._known(streams(record, folded(record, folds)))
        if any(isinstance(each, Change) for each in expected):
            self._keep([each for each in folds if isinstance(each, Change)])
            self._keep(streams(self._record()))
        else:
            self._keep(expected)
            journal.undo()
        self._keep(heads(self._record()))
