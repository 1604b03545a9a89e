"""The state of a study: its space, its evaluators, and everything measured so far."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from optuna.storages import BaseStorage

from codesign.designs.folder import EVALUATIONS
from codesign.errors import InputError
from codesign.files import make_folder
from codesign.hardware import cost_tables
from codesign.quality import Evaluator, Quality
from codesign.quality.cache import code_version
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.pareto import hypervolume
from codesign.search.engine.points import Designs, Pool
from codesign.search.queue.ledger import SPACE, Ledger
from codesign.search.queue.storage import default_storage, open_storage
from codesign.search.space.axes import hardware_choices
from codesign.search.space.resolve import SearchSpace
from codesign.search.study.accumulation import Accumulation
from codesign.search.study.claim import check_folder, claim_folder
from codesign.search.study.sentinel import Sentinel


@dataclass
class MeasuredAssignments:
    """The measured assignments of one network."""

    choices: list[np.ndarray] = field(default_factory=list)  # pair index per layer, int [L] each
    qualities: list[Quality] = field(default_factory=list)  # the deciding metric of each
    known: dict[bytes, float] = field(default_factory=dict)  # bytes of a choice -> value of its deciding metric
    given_up: list[tuple[np.ndarray, Quality]] = field(default_factory=list)  # measured on a subset of samples only

    def add(self, choice: np.ndarray, quality: Quality) -> None:
        """Add an assignment, unless it is known already."""
        if quality.of_part:
            self.given_up.append((choice, quality))
        elif choice.tobytes() not in self.known:
            self.choices.append(choice)
            self.qualities.append(quality)
            self.known[choice.tobytes()] = quality.value

    @property
    def tried(self) -> int:
        """The number of assignments that were measured, if only on a subset of samples."""
        return len(self.known.keys() | {choice.tobytes() for choice, _ in self.given_up})

    def pool(self) -> Pool:
        """The choices [n, L] with the values of their deciding metric [n]."""
        return Pool(np.array(self.choices), np.array([q.value for q in self.qualities]))


@dataclass
class OpenStudy:
    """A running or finished study."""

    space: SearchSpace
    seed: int
    folder: Path
    ledger: Ledger
    storage: str | None  # URL for worker processes; None if the storage is open in this process alone
    workers: int  # number of local workers
    evaluators: dict[str, Evaluator]
    combiner: Combiner
    accumulation: Accumulation
    tables: dict[str, np.ndarray] = field(default_factory=dict)  # sensitivities [L, C], inf where not allowed
    measured: dict[str, MeasuredAssignments] = field(default_factory=dict)  # by network
    float_qualities: dict[str, Quality] = field(default_factory=dict)  # the deciding metric of the float networks
    reference: np.ndarray = field(default_factory=lambda: np.zeros(0))  # reference point of the hypervolume [d]
    history: list[dict[str, float]] = field(default_factory=list)  # evaluations and hypervolume, over time
    timings: dict[str, float] = field(default_factory=dict)  # stage -> seconds
    sentinels: list[Sentinel] = field(default_factory=list)  # as measured when the study was resumed
    failures: list[str] = field(default_factory=list)  # candidates that could not be measured, with the reason
    evaluations: int = 0
    ended: str = ""  # why the newest run measured no more
    priced_anew: bool = False  # the cost model has changed since the study was last searched
    refused: int = 0  # designs whose accumulator loses too much

    def pools(self) -> dict[str, Pool]:
        """The measured assignments of every network with their quality."""
        return {name: measured.pool() for name, measured in self.measured.items()}

    def front(self) -> Designs:
        """Every non-dominated design over all accelerators and all measured assignments."""
        return self.combiner.front(self.pools())

    def hypervolume(self, designs: Designs) -> float:
        """The hypervolume that the designs dominate, bounded by the study's reference point."""
        return hypervolume(designs.objectives, self.reference)


def open_study(
    space: SearchSpace,
    folder: Path,
    *,
    seed: int = 0,
    storage: str | BaseStorage | None = None,
    resume: bool = False,
    workers: int = 1,
    evaluators: Mapping[str, Evaluator] | None = None,
) -> OpenStudy:
    """Create the study of `space` in `folder`, or load it.

    Args:
        space: a space whose formats are to be searched.
        folder: the study's folder.
        seed: of everything random.
        storage: an Optuna storage URL (default: SQLite in `folder`), or an open storage, for one worker.
        resume: whether the study must exist.
        workers: local worker processes; 1 is a thread of this process, 0 leaves all work to other machines.
        evaluators: network -> its evaluator in this process (default: one for its task, with a cache in `folder`).
    Raises:
        InputError: the study is of another space, seed or code; there is none to resume; nothing is to be measured;
            `folder` holds something else.
        EnvironmentProblem: folder or storage cannot be used.
    """
    if space.fixed:
        raise InputError(f"{space.path}: the formats of its tasks are given: there is nothing to measure")
    if (workers != 1 and isinstance(storage, BaseStorage)) or (workers > 1 and evaluators is not None):
        raise InputError("worker processes need a storage by URL and measure tasks by name: take one worker")
    check_folder(folder, space, storage if isinstance(storage, str) else None)
    make_folder(folder)
    ranges = ", ".join(f"{name}: {network.ranges}" for name, network in space.networks.items())
    identity = {
        "ranges": ranges,  # is in space_hash too; on its own, the error for different rules can name it
        "space_hash": space.space_hash,
        SPACE: json.dumps(space.described()),
        "code_version": code_version(),
        "task_code": ", ".join(f"{name}: {network.task.code}" for name, network in space.networks.items()),
        "seed": str(seed),
    }
    if resume and storage is None and not (folder / "study.db").exists():
        raise InputError(f"{folder}: no study to resume (study.db is missing)")
    url = None if isinstance(storage, BaseStorage) else storage or default_storage(folder)
    ledger = Ledger(
        storage if isinstance(storage, BaseStorage) else open_storage(url or ""),
        space.spec.name,
        space.objectives,
        identity,
        hardware_choices(space),
        must_exist=resume,
    )
    claim_folder(folder, space, storage if isinstance(storage, str) else None)
    _check_records(space, ledger)
    cache = folder / EVALUATIONS
    evaluators = dict(
        evaluators or {name: Evaluator(n.task, cache=cache, ranges=n.ranges) for name, n in space.networks.items()}
    )
    tables = {name: cost_tables(n.workload, space.grid, space.pairs) for name, n in space.networks.items()}
    combiner = Combiner(tables, space.objectives, space.budgets, space.grid.unit)
    study = OpenStudy(space, seed, folder, ledger, url, workers, evaluators, combiner, Accumulation(evaluators))
    study.measured = {name: MeasuredAssignments() for name in space.networks}
    return study


def _check_records(space: SearchSpace, ledger: Ledger) -> None:
    """Raise InputError if a stored result is of other networks, layers or pairs than the space's."""
    sizes = {name: len(network.layers) for name, network in space.networks.items()}
    for record in ledger.records():
        pairs = [pair for choice in record.assignments.values() for pair in choice]
        found = {name: len(choice) for name, choice in record.assignments.items()}
        if found != sizes or set(record.quality) != set(sizes):
            raise InputError(f"study '{space.spec.name}': the trial {record.key} is not of this space's networks")
        if max(pairs) >= len(space.pairs):
            raise InputError(f"study '{space.spec.name}': the trial {record.key} has pair {max(pairs)}, which is none")
