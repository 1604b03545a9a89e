"""The study: sensitivities, hull, measured verification, refinement; every step in the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import BaseStorage

from codesign.errors import InputError
from codesign.files import make_folder
from codesign.hardware import cost_tables
from codesign.quality import Evaluator, Quality, UnmeasurableError, sensitivities
from codesign.quality.cache import code_version
from codesign.search.accumulation import Accumulation
from codesign.search.combine import Combiner, Designs, Pool
from codesign.search.engine import Engine
from codesign.search.ledger import Ledger, Record, default_storage, open_storage
from codesign.search.pareto import hypervolume
from codesign.search.samplers import Parameters, make_sampler
from codesign.search.space import SearchSpace
from codesign.search.workers import Measurer, Pending

Progress = Callable[[str, int, int, str], None]  # stage, done, total, detail


@dataclass
class Measured:
    """Assignments of one network that were measured: choices, deciding Quality, by content."""

    choices: list[np.ndarray] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    known: dict[bytes, float] = field(default_factory=dict)

    def add(self, choice: np.ndarray, quality: Quality) -> None:
        if choice.tobytes() not in self.known:
            self.choices.append(choice)
            self.qualities.append(quality)
            self.known[choice.tobytes()] = quality.value

    def pool(self) -> Pool:
        return Pool(np.array(self.choices), np.array([q.value for q in self.qualities]))


@dataclass(frozen=True)
class Candidate:
    """One trial: an accelerator and a choice of pairs per network."""

    accelerator: int
    choices: dict[str, np.ndarray]
    proposed_by: str
    trial: optuna.Trial | None = None  # already asked for, by one of Optuna's samplers


@dataclass
class Study:
    """A running or finished search; `designs` and `measured` are what came out of it."""

    space: SearchSpace
    seed: int
    folder: Path
    ledger: Ledger
    evaluators: dict[str, Evaluator]
    combiner: Combiner
    measurer: Measurer
    accumulation: Accumulation
    tables: dict[str, np.ndarray] = field(default_factory=dict)  # sensitivities [L, C], inf where not allowed
    measured: dict[str, Measured] = field(default_factory=dict)
    reference: np.ndarray = field(default_factory=lambda: np.zeros(0))
    history: list[dict[str, float]] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
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
) -> Study:
    """Load or create the study of `space` in `folder`; raises InputError if it is another space's.

    evaluators: what measures each network in this process (default: its task, with a cache in `folder`).
    """
    if space.fixed:
        raise InputError(f"{space.path}: the formats of its tasks are given: there is nothing to measure")
    make_folder(folder)
    identity = {"space_hash": space.space_hash, "code_version": code_version(), "seed": str(seed)}
    if resume and storage is None and not (folder / "study.db").exists():
        raise InputError(f"{folder}: no study to resume (study.db is missing)")
    ledger = Ledger(
        storage if isinstance(storage, BaseStorage) else open_storage(storage or default_storage(folder)),
        space.spec.name,
        space.objectives,
        identity,
        _hardware_choices(space),
        must_exist=resume,
    )
    cache = folder / "evaluations"
    evaluators = dict(evaluators or {name: Evaluator(n.task, cache=cache) for name, n in space.networks.items()})
    tables = {name: cost_tables(n.workload, space.grid, space.pairs) for name, n in space.networks.items()}
    specs = {name: spec.task for name, spec in space.spec.tasks.items()}
    measurer = Measurer(evaluators, specs, space.path.parent, workers)
    combiner = Combiner(tables, space.objectives, space.budgets, space.grid.unit)
    study = Study(space, seed, folder, ledger, evaluators, combiner, measurer, Accumulation(evaluators))
    study.measured = {name: Measured() for name in space.networks}
    return study


def run_study(
    study: Study,
    *,
    evaluations: int,
    timeout_s: float | None = None,
    sampler: str = "codesign",
    progress: Progress | None = None,
) -> Study:
    """Measure up to `evaluations` candidates: the uniform formats, then batches proposed by the engine.

    Everything is decided by the seed and by what was measured, in order; a resumed study walks the
    same path and finds the finished trials in the ledger instead of measuring them again.
    """
    started = time.monotonic()
    deadline = None if timeout_s is None else started + timeout_s
    report = progress or (lambda *_: None)
    _sensitivities(study, report)
    if sampler == "codesign":
        _measure(study, _uniform_candidates(study)[:evaluations], report, evaluations)
        study.reference = _reference_point(study)
        _engine(study, evaluations, deadline, report)
    else:
        _black_box(sampler, study, evaluations, deadline, report)
    study.measurer.close()
    if not len(study.reference):
        study.reference = _reference_point(study)
    study.timings["search"] = time.monotonic() - started
    return study


def _engine(study: Study, evaluations: int, deadline: float | None, report: Progress) -> None:
    """Rounds of: tell what was measured, propose, measure."""
    engine = Engine(study.space.networks, study.combiner, study.tables, study.reference, seed=study.seed)
    while study.evaluations < evaluations and not _late(deadline):
        engine.tell(
            {n: m.choices for n, m in study.measured.items()},
            {n: [q.value for q in m.qualities] for n, m in study.measured.items()},
        )
        size = min(study.space.spec.search.batch, evaluations - study.evaluations)
        batch = [Candidate(p.accelerator, p.choices, "engine") for p in engine.propose(size)]
        if not batch:
            return  # everything was measured
        for candidate in _measure(study, batch, report, evaluations, deadline):
            engine.avoid(candidate.choices)
        _remember(study)


def _black_box(sampler: str, study: Study, evaluations: int, deadline: float | None, report: Progress) -> None:
    """One of Optuna's samplers, a parameter per layer, in the same ledger.

    It asks for the uniform designs too: enqueued before it has the study, they would not count as its first generation.
    """
    ledger, parameters = study.ledger, Parameters(study.space, study.ledger.distributions)
    ledger.study.sampler = make_sampler(sampler, study.seed)
    for record in ledger.records():  # of a resumed study
        study.evaluations += 1
        for name, quality in record.quality.items():
            study.measured[name].add(np.array(record.assignments[name]), Quality(**quality))
    waiting = _uniform_candidates(study)[study.evaluations :]
    while study.evaluations < evaluations and not _late(deadline):
        if waiting:
            given, waiting = waiting[0], waiting[1:]
            hardware = _hardware_parameters(study.space, given.accelerator)
            ledger.study.enqueue_trial(parameters.named(hardware, given.choices))
        trial = ledger.study.ask(parameters.distributions())
        _ = (
            trial.relative_params
        )  # Optuna asks lazily, of a trial with given parameters never: it would be of no generation
        accelerator = parameters.accelerator(trial)
        choices = parameters.choices(trial, study.combiner.support_of(accelerator))
        ledger.describe(trial, f"{sampler}-{trial.number}", sampler)
        _measure(study, [Candidate(accelerator, choices, sampler, trial)], report, evaluations, deadline)
        if not waiting and not len(study.reference):
            study.reference = _reference_point(study)
        if len(study.reference) and study.evaluations % study.space.spec.search.batch == 0:
            _remember(study)


def _remember(study: Study) -> None:
    study.history.append({"evaluations": study.evaluations, "hypervolume": study.hypervolume(study.front())})


def _sensitivities(study: Study, report: Progress) -> None:
    """One table per network, from the cache where this very network was seen before."""
    started = time.monotonic()
    for i, (name, network) in enumerate(study.space.networks.items()):
        report("sensitivities", i, len(study.space.networks), name)
        evaluator, key = study.evaluators[name], "|".join(map(str, study.space.pairs))
        table = evaluator.cache.get(key, f"sensitivities-{study.seed}") if evaluator.cache else None
        if table is None:
            table = sensitivities(evaluator, study.space.pairs, seed=study.seed).tolist()
            if evaluator.cache:
                evaluator.cache.put(key, f"sensitivities-{study.seed}", table)
        study.tables[name] = np.where(network.allowed, np.array(table), np.inf)
    study.timings["sensitivities"] = time.monotonic() - started


def _uniform_candidates(study: Study) -> list[Candidate]:
    """One per pair: this pair in every layer (where allowed, else the least sensitive allowed one)."""
    found = []
    for column, pair in enumerate(study.space.pairs):
        choices = {}
        for name, table in study.tables.items():
            fallback = table.argmin(axis=1)
            choices[name] = np.where(np.isfinite(table[:, column]), column, fallback)
        smallest = _smallest_support(study.combiner, choices)
        if smallest is not None:
            found.append(Candidate(smallest, choices, f"uniform {pair}"))
    return found


def _smallest_support(combiner: Combiner, choices: dict[str, np.ndarray]) -> int | None:
    """The middle accelerator of the unit with the fewest pairs that supports these choices."""
    needed = np.unique(np.concatenate(list(choices.values())))
    fits = [g for g, support in enumerate(combiner.supports) if support[needed].all()]
    if not fits:
        return None
    group = min(fits, key=lambda g: (int(combiner.supports[g].sum()), g))
    members = combiner.groups[group]
    return int(members[len(members) // 2])


def _reference_point(study: Study) -> np.ndarray:
    """The corner that bounds the hypervolume: the worst of each objective over the uniform designs' front, + 5 %.

    Fixed by the uniform designs, which every run of this space shares.
    """
    uniform = _uniform_candidates(study)
    pools = {}
    for name, measured in study.measured.items():
        wanted = {c.choices[name].tobytes() for c in uniform}
        keep = [i for i, choice in enumerate(measured.choices) if choice.tobytes() in wanted]
        pools[name] = Pool(np.array(measured.choices)[keep], np.array([measured.qualities[i].value for i in keep]))
    front = study.combiner.front(pools)
    if not len(front):
        raise InputError(f"{study.space.path}: no design meets the budgets with one format throughout; loosen a budget")
    worst = front.objectives.max(axis=0)
    return np.asarray(worst + 0.05 * np.maximum(np.abs(worst), 1e-12))


def _measure(
    study: Study, candidates: Sequence[Candidate], report: Progress, total: int, deadline: float | None = None
) -> list[Candidate]:
    """Evaluate candidates in order, or take them from the ledger; those that failed, with their reasons written."""
    failed: list[Candidate] = []
    waiting: list[tuple[Candidate, str, dict[str, Pending]]] = []
    for candidate in candidates:
        assignments = {n: net.assignment(candidate.choices[n]) for n, net in study.space.networks.items()}
        key = "|".join([str(candidate.accelerator), *(f"{n}={a.digest()}" for n, a in assignments.items())])
        known = study.ledger.get(key) is not None
        pending = {} if known else {n: study.measurer.submit(n, a) for n, a in assignments.items()}
        waiting.append((candidate, key, pending))
    for candidate, key, pending in waiting:
        if _late(deadline):
            break
        record = study.ledger.get(key) or _evaluate(study, candidate, key, pending)
        if record is not None and not pending and candidate.trial is not None:
            study.ledger.finish(candidate.trial, record)  # a sampler came back to what is known
        study.evaluations += 1
        if record is None:
            failed.append(candidate)
        else:
            for name, quality in record.quality.items():
                study.measured[name].add(candidate.choices[name], Quality(**quality))
        report("evaluations", study.evaluations, total, candidate.proposed_by)
    return failed


def _evaluate(study: Study, candidate: Candidate, key: str, pending: dict[str, Pending]) -> Record | None:
    """Measure one candidate as one trial; None if it has no quality."""
    hardware = _hardware_parameters(study.space, candidate.accelerator)
    trial = candidate.trial or study.ledger.start(key, hardware, candidate.proposed_by)
    started = time.monotonic()
    try:
        qualities = {n: wait() for n, wait in pending.items()}
    except UnmeasurableError as error:
        study.ledger.fail(trial, str(error))
        study.failures.append(f"{key}: {error}")
        return None
    record = Record(
        key=key,
        values=_values(study, candidate, qualities),
        quality={n: q.to_dict() for n, q in qualities.items()},
        assignments={n: [int(i) for i in candidate.choices[n]] for n in qualities},
        hardware=hardware,
        proposed_by=candidate.proposed_by,
        seconds=time.monotonic() - started,
    )
    study.ledger.finish(trial, record)
    return record


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def _values(study: Study, candidate: Candidate, qualities: dict[str, Quality]) -> tuple[float, ...]:
    pools = {n: Pool(candidate.choices[n][None], np.array([qualities[n].value])) for n in qualities}
    values = study.combiner.values(np.array([candidate.accelerator]), pools)[0]
    return tuple(float(v) for v in values)


def _hardware_choices(space: SearchSpace) -> dict[str, Sequence[str]]:
    """Optuna's categorical choices, axes in the order of the grid: strings, as mixed types confuse its samplers."""
    hw = space.spec.hardware
    return {
        "unit": ["+".join(map(str, s)) for s in hw.units.resolve()],
        "accumulator": hw.accumulator,
        "dot": [str(v) for v in hw.dot],
        "rows": [str(v) for v in hw.rows],
        "columns": [str(v) for v in hw.columns],
        "sram_bytes": [str(round(k * 1024)) for k in hw.sram_kib],
        "dram": hw.dram,
        "dram_channels": [str(v) for v in hw.dram_channels],
        "vector_lanes": [str(v) for v in hw.vector_lanes],
        "dram_gib": [str(v) for v in hw.dram_gib],
        "flash": hw.flash,
        "codec": hw.codec,
        "clock_hz": [str(round(m * 1e6)) for m in hw.clock_mhz],
    }


def _hardware_parameters(space: SearchSpace, index: int) -> dict[str, str]:
    choices = _hardware_choices(space)
    position = np.unravel_index(index, [len(values) for values in choices.values()])
    return {axis: values[int(i)] for (axis, values), i in zip(choices.items(), position, strict=True)}
