"""The study: a space, what measures its networks, and what is known of them so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from optuna.storages import BaseStorage

from codesign.errors import InputError
from codesign.files import make_folder
from codesign.hardware import cost_tables
from codesign.quality import Evaluator, Quality
from codesign.quality.cache import code_version
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.pareto import hypervolume
from codesign.search.engine.points import Designs, Pool
from codesign.search.queue.ledger import Ledger
from codesign.search.queue.storage import default_storage, open_storage
from codesign.search.space.axes import hardware_choices
from codesign.search.space.resolve import SearchSpace
from codesign.search.study.accumulation import Accumulation
from codesign.search.study.sentinel import Sentinel


@dataclass
class MeasuredAssignments:
    """Assignments of one network that were measured: choices of pairs int [L], the deciding Quality of each.

    known: value by content of a choice; given_up: those that were hopeless on a part of the samples.
    """

    choices: list[np.ndarray] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    known: dict[bytes, float] = field(default_factory=dict)
    given_up: list[tuple[np.ndarray, Quality]] = field(default_factory=list)

    def add(self, choice: np.ndarray, quality: Quality) -> None:
        """Count an assignment, unless it is known already."""
        if quality.of_part:
            self.given_up.append((choice, quality))
        elif choice.tobytes() not in self.known:
            self.choices.append(choice)
            self.qualities.append(quality)
            self.known[choice.tobytes()] = quality.value

    def pool(self) -> Pool:
        """The choices [n, L] with their qualities [n]."""
        return Pool(np.array(self.choices), np.array([q.value for q in self.qualities]))


@dataclass
class OpenStudy:
    """A running or finished search; `designs` and `measured` are what came out of it."""

    space: SearchSpace
    seed: int
    folder: Path
    ledger: Ledger
    storage: str | None  # where worker processes find it; None: in this process alone
    workers: int
    evaluators: dict[str, Evaluator]
    combiner: Combiner
    accumulation: Accumulation
    tables: dict[str, np.ndarray] = field(default_factory=dict)  # sensitivities [L, C], inf where not allowed
    measured: dict[str, MeasuredAssignments] = field(default_factory=dict)
    float_qualities: dict[str, Quality] = field(default_factory=dict)  # the deciding metric of the float networks
    reference: np.ndarray = field(default_factory=lambda: np.zeros(0))
    history: list[dict[str, float]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    sentinels: list[Sentinel] = field(default_factory=list)  # measured again, of a study that goes on
    failures: list[str] = field(default_factory=list)
    evaluations: int = 0
    refused: int = 0  # designs whose accumulator loses too much

    def pools(self) -> dict[str, Pool]:
        return {name: measured.pool() for name, measured in self.measured.items()}

    def front(self) -> Designs:
        """Every non-dominated design over all accelerators and all measured assignments."""
        return self.combiner.front(self.pools())

    def hypervolume(self, designs: Designs) -> float:
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
    """Load or create the study of `space` in `folder`; raises InputError if it is another space's.

    storage: URL (default: SQLite in `folder`), or one that is open, for one worker. workers: processes that evaluate;
    one evaluates in a thread of this process, 0 leaves all to workers elsewhere. evaluators: what measures each network
    in this process (default: its task, with a cache in `folder`).
    """
    if space.fixed:
        raise InputError(f"{space.path}: the formats of its tasks are given: there is nothing to measure")
    if (workers != 1 and isinstance(storage, BaseStorage)) or (workers > 1 and evaluators is not None):
        raise InputError("worker processes need a storage by URL and measure tasks by name: take one worker")
    make_folder(folder)
    ranges = ", ".join(f"{name}: {network.ranges}" for name, network in space.networks.items())
    identity = {
        "ranges": ranges,  # part of the space, and often what is another: said by name
        "space_hash": space.space_hash,
        "code_version": code_version(),
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
    cache = folder / "evaluations"
    evaluators = dict(
        evaluators or {name: Evaluator(n.task, cache=cache, ranges=n.ranges) for name, n in space.networks.items()}
    )
    tables = {name: cost_tables(n.workload, space.grid, space.pairs) for name, n in space.networks.items()}
    combiner = Combiner(tables, space.objectives, space.budgets, space.grid.unit)
    study = OpenStudy(space, seed, folder, ledger, url, workers, evaluators, combiner, Accumulation(evaluators))
    study.measured = {name: MeasuredAssignments() for name in space.networks}
    return study
