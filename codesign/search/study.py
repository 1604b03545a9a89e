"""The study: sensitivities, uniform formats, proposals, measurements; every step in the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from optuna.storages import BaseStorage

from codesign.errors import InputError
from codesign.files import make_folder
from codesign.hardware import cost_tables
from codesign.quality import Evaluator, Quality, sensitivities
from codesign.quality.cache import code_version
from codesign.search.accumulation import Accumulation
from codesign.search.combine import Combiner, Designs, Pool
from codesign.search.crew import Crew, Processes, Thread
from codesign.search.engine import Engine, Proposal
from codesign.search.hardware_axes import hardware_choices, hardware_parameters
from codesign.search.lease import Lease
from codesign.search.ledger import ENDED, RUNNING, Ledger
from codesign.search.pareto import hypervolume
from codesign.search.racing import Racing
from codesign.search.samplers import Parameters, make_sampler
from codesign.search.space import SearchSpace
from codesign.search.storage import default_storage, open_storage
from codesign.search.trials import Failure, Work
from codesign.search.worker import WORKPLACE, Worker, workplace

Progress = Callable[[str, int, int, str], None]  # stage, done, total, detail
_POLL_S = (0.02, 0.1)  # between two looks at what workers found, growing


@dataclass
class Measured:
    """Assignments of one network that were measured: choices, deciding Quality, by content.

    given_up: those that were hopeless on a part of the samples.
    """

    choices: list[np.ndarray] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    known: dict[bytes, float] = field(default_factory=dict)
    given_up: list[tuple[np.ndarray, Quality]] = field(default_factory=list)

    def add(self, choice: np.ndarray, quality: Quality) -> None:
        if quality.of_part:
            self.given_up.append((choice, quality))
        elif choice.tobytes() not in self.known:
            self.choices.append(choice)
            self.qualities.append(quality)
            self.known[choice.tobytes()] = quality.value

    def pool(self) -> Pool:
        return Pool(np.array(self.choices), np.array([q.value for q in self.qualities]))


@dataclass
class Study:
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

    storage: URL (default: SQLite in `folder`), or one that is open, for one worker. workers: processes that evaluate;
    one evaluates in a thread of this process, 0 leaves all to workers elsewhere. evaluators: what measures each network
    in this process (default: its task, with a cache in `folder`).
    """
    if space.fixed:
        raise InputError(f"{space.path}: the formats of its tasks are given: there is nothing to measure")
    if (workers != 1 and isinstance(storage, BaseStorage)) or (workers > 1 and evaluators is not None):
        raise InputError("worker processes need a storage by URL and measure tasks by name: take one worker")
    make_folder(folder)
    identity = {"space_hash": space.space_hash, "code_version": code_version(), "seed": str(seed)}
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
    evaluators = dict(evaluators or {name: Evaluator(n.task, cache=cache) for name, n in space.networks.items()})
    tables = {name: cost_tables(n.workload, space.grid, space.pairs) for name, n in space.networks.items()}
    combiner = Combiner(tables, space.objectives, space.budgets, space.grid.unit)
    study = Study(space, seed, folder, ledger, url, workers, evaluators, combiner, Accumulation(evaluators))
    study.measured = {name: Measured() for name in space.networks}
    return study


def run_study(
    study: Study,
    *,
    evaluations: int,
    timeout_s: float | None = None,
    sampler: str = "codesign",
    progress: Progress | None = None,
    racing: bool = True,
    make_engine: Callable[..., Engine] = Engine,
) -> Study:
    """Measure up to `evaluations` candidates: the uniform formats, then batches proposed by the engine.

    Everything is decided by the seed and by what was measured, in the order of proposals; a resumed study walks the
    same path and finds the finished trials in the ledger instead of measuring them again, whoever measured them.
    racing: candidates that are hopeless on a part of the samples are spared the others. make_engine: another engine.
    Raises InputError where another process searches this study.
    """
    started = time.monotonic()
    run = _Run(study, evaluations, None if timeout_s is None else started + timeout_s, progress or (lambda *_: None))
    with Lease(study.ledger.storage, study.ledger.study_id, study.space.spec.name) as run.lease, _one_thread():
        _sensitivities(study, run.report)
        if sampler == "codesign":
            with run.crew():
                _engine(run, make_engine, Racing.of(study.space.networks, study.evaluators) if racing else None)
        else:
            _black_box(sampler, run)
    if not len(study.reference):
        study.reference = _reference_point(study)
    study.timings["search"] = time.monotonic() - started
    return study


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of several threads may differ in their last bits, and a front must not depend on who measured what."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Run:
    """One call of `run_study`: what it may spend, who measures, and what they were given."""

    def __init__(self, study: Study, evaluations: int, deadline: float | None, report: Progress) -> None:
        self.study = study
        self.evaluations = evaluations
        self.report = report
        self.lease: Lease
        self._deadline = deadline
        self._crew: Crew

    @property
    def late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    @contextmanager
    def crew(self) -> Iterator[None]:
        """Workers at work; each ends its evaluation in the end, whatever that is."""
        study, ledger = self.study, self.study.ledger
        ledger.study.set_user_attr(WORKPLACE, workplace(study.space))
        ledger.set_state(RUNNING)
        if study.workers != 1:
            assert study.storage is not None
            name, cache = study.space.spec.name, study.folder / "evaluations"
            self._crew = Processes(study.workers, study.storage, name, cache.resolve())
        else:
            self._crew = Thread(ledger.queue, study.space.networks, study.evaluators)
        try:
            yield
        finally:
            ledger.set_state(ENDED)
            self._crew.stop()

    def begin(self, works: Sequence[Work]) -> Sequence[Work]:
        """Put candidates into the queue."""
        self.lease.check()
        for work in works:
            self.study.ledger.add(work)
        return works

    def end(self, works: Sequence[Work]) -> list[Work]:
        """Wait for candidates and count them, in order; those that have no quality, with the reason noted."""
        ledger, study, pause, looks = self.study.ledger, self.study, _POLL_S[0], 0
        while (left := ledger.poll(works)) and not self.late:
            self._crew.check()
            self.report("evaluations", study.evaluations + len(works) - left, self.evaluations, works[0].proposed_by)
            time.sleep(pause)
            pause, looks = min(1.2 * pause, _POLL_S[1]), looks + 1
        if left:
            self._crew.stop()  # the time is up: what is being measured counts still
            ledger.poll(works)
        return [work for work in works if count(study, work, self.report, self.evaluations) is False]


def count(study: Study, work: Work, report: Progress, total: int) -> bool | None:
    """Take what came of a candidate into the study: True, False where it has no quality, None while unknown."""
    found = study.ledger.get(work.key)
    if found is None:
        return None
    study.evaluations += 1
    report("evaluations", study.evaluations, total, work.proposed_by)
    if isinstance(found, Failure):
        study.failures.append(f"{found.key}: {found.reason}")
        return False
    for name, quality in found.quality.items():
        study.measured[name].add(np.array(work.assignments[name]), Quality(**quality))
    return True


def _engine(run: _Run, make_engine: Callable[..., Engine], racing: Racing | None) -> None:
    """Rounds of: propose, queue, count the round before, which was measured meanwhile."""
    study = run.study
    run.end(run.begin([_work(study, *uniform) for uniform in _uniform(study)[: run.evaluations]]))
    study.reference = _reference_point(study)
    engine = make_engine(study.space.networks, study.combiner, study.tables, study.reference, seed=study.seed)
    asked: list[Proposal] = []
    queued: Sequence[Work] = []
    while True:
        _tell(engine, racing, study.measured)
        remember(study, engine.front)
        if run.late:
            return
        room = run.evaluations - study.evaluations - len(queued)
        batch = engine.propose(min(study.space.spec.search.batch, room), asked) if room else []
        enough = [racing.enough(engine, proposal) if racing else {} for proposal in batch]
        works = run.begin([_work(study, p, "engine", limits) for p, limits in zip(batch, enough, strict=True)])
        for failed in run.end(queued):
            engine.avoid({n: np.array(c) for n, c in failed.assignments.items()})
        if not works and not queued:
            return  # nothing is left to measure
        asked, queued = batch, works


def _tell(engine: Engine, racing: Racing | None, measured: Mapping[str, Measured]) -> None:
    """Everything that was measured; what is known already counts once."""
    engine.tell(
        {n: m.choices for n, m in measured.items()}, {n: [q.value for q in m.qualities] for n, m in measured.items()}
    )
    if racing is None:
        return
    for name, found in measured.items():
        racing.learn(name, found.qualities)
        for choice, quality in found.given_up:
            engine.hint(name, choice, racing.whole(name, quality.value))


def _black_box(sampler: str, run: _Run) -> None:
    """One of Optuna's samplers, a parameter per layer, in the same ledger.

    It asks for the uniform designs too: enqueued before it has the study, they would not count as its first generation.
    """
    study, ledger = run.study, run.study.ledger
    if study.workers != 1:
        raise InputError(f"--sampler {sampler} asks for one trial after another: take --workers 1")
    parameters = Parameters(study.space, ledger.distributions)
    ledger.study.sampler = make_sampler(sampler, study.seed)
    worker = Worker(ledger.queue, study.space.networks, study.evaluators)
    for record in ledger.records():  # of a resumed study
        for name, quality in record.quality.items():
            study.measured[name].add(np.array(record.assignments[name]), Quality(**quality))
    study.evaluations = sum(t.state.is_finished() for t in ledger.study.get_trials(deepcopy=False))
    waiting = [p for p, _ in _uniform(study)][study.evaluations :]
    while study.evaluations < run.evaluations and not run.late:
        run.lease.check()
        if waiting:
            given, waiting = waiting[0], waiting[1:]
            hardware = hardware_parameters(study.space, given.accelerator)
            ledger.study.enqueue_trial(parameters.named(hardware, given.choices))
        trial = ledger.study.ask(parameters.distributions())
        _ = (
            trial.relative_params
        )  # Optuna asks lazily, of a trial with given parameters never: it would be of no generation
        accelerator = parameters.accelerator(trial)
        choices = parameters.choices(trial, study.combiner.support_of(accelerator))
        work = _work(study, Proposal(accelerator, choices), sampler)
        ledger.take(trial, work, worker)
        count(study, work, run.report, run.evaluations)
        if not waiting and not len(study.reference):
            study.reference = _reference_point(study)
        if len(study.reference) and study.evaluations % study.space.spec.search.batch == 0:
            remember(study)


def remember(study: Study, front: Designs | None = None) -> None:
    """Note how large the front is now (which `front` is, where it is known); less often where that takes longer."""
    before = study.history[-1]["evaluations"] if study.history else 0
    if study.evaluations >= max(before + 1, 1.02 * before):
        study.history.append(
            {
                "evaluations": study.evaluations,
                "hypervolume": study.hypervolume(study.front() if front is None else front),
            }
        )


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


def _uniform(study: Study) -> list[tuple[Proposal, str]]:
    """One per pair: this pair in every layer (where allowed, else the least sensitive allowed one), and its name."""
    found = []
    for column, pair in enumerate(study.space.pairs):
        choices = {}
        for name, table in study.tables.items():
            fallback = table.argmin(axis=1)
            choices[name] = np.where(np.isfinite(table[:, column]), column, fallback)
        smallest = _smallest_support(study.combiner, choices)
        if smallest is not None:
            found.append((Proposal(smallest, choices), f"uniform {pair}"))
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
    uniform = [proposal for proposal, _ in _uniform(study)]
    pools = {}
    for name, measured in study.measured.items():
        wanted = {p.choices[name].tobytes() for p in uniform}
        keep = [i for i, choice in enumerate(measured.choices) if choice.tobytes() in wanted]
        pools[name] = Pool(np.array(measured.choices)[keep], np.array([measured.qualities[i].value for i in keep]))
    front = study.combiner.front(pools)
    if not len(front):
        raise InputError(f"{study.space.path}: no design meets the budgets with one format throughout; loosen a budget")
    worst = front.objectives.max(axis=0)
    return np.asarray(worst + 0.05 * np.maximum(np.abs(worst), 1e-12))


def _work(study: Study, proposal: Proposal, proposed_by: str, enough: dict[str, float] | None = None) -> Work:
    """The proposal as a trial: its costs are known, its quality is what a worker finds."""
    space, accelerator = study.space, proposal.accelerator
    digests = [f"{n}={net.assignment(proposal.choices[n]).digest()}" for n, net in space.networks.items()]
    pools = {n: Pool(choice[None], np.array([np.nan])) for n, choice in proposal.choices.items()}
    costs = study.combiner.values(np.array([accelerator]), pools)[0]
    return Work(
        key="|".join([str(accelerator), *digests]),
        assignments={n: [int(i) for i in choice] for n, choice in proposal.choices.items()},
        objectives=tuple(
            str(o.task) if o.is_quality else float(v) for o, v in zip(space.objectives, costs, strict=True)
        ),
        hardware=hardware_parameters(space, accelerator),
        proposed_by=proposed_by,
        enough=enough or {},
    )
