"""How a study is searched: sensitivities, uniform formats, proposals, measurements; every step in the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from codesign.designs import Candidate
from codesign.errors import InputError
from codesign.quality import Quality, sensitivities, try_metric
from codesign.search.engine.engine import Engine, Proposal
from codesign.search.engine.points import Designs, Pool
from codesign.search.engine.racing import Racing
from codesign.search.queue.lease import Lease
from codesign.search.queue.state import ENDED, RUNNING
from codesign.search.queue.storage import quiet
from codesign.search.queue.trials import Failure, Work
from codesign.search.queue.worker import WORKPLACE, Worker, workplace
from codesign.search.queue.workers import LocalWorkers, Processes, Thread
from codesign.search.samplers.optuna_samplers import Parameters, make_sampler
from codesign.search.space.axes import hardware_parameters
from codesign.search.study.progress import Progress
from codesign.search.study.scales import loss_scales
from codesign.search.study.sentinels import choose, measure_again
from codesign.search.study.study import Measured, Study
from codesign.search.study.uniform import reference_point, uniform_designs

_POLL_S = (0.02, 0.1)  # between two looks at what workers found, growing
_PAUSE = 4  # times as long as a look took, at least: a large batch is a large look


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
    Raises InputError where another process searches this study, MovedError where its sentinels came out otherwise.
    """
    started = time.monotonic()
    run = _Run(study, evaluations, None if timeout_s is None else started + timeout_s, progress or (lambda *_: None))
    with Lease(study.ledger.storage, study.ledger.study_id, study.space.spec.name) as run.lease, _one_thread(), quiet():
        study.sentinels = measure_again(study, run.report)
        _try_metrics(study, run.report)
        _sensitivities(study, run.report)
        if sampler == "codesign":
            with run.local_workers():
                _engine(run, make_engine, racing)
        else:
            _black_box(sampler, run)
        choose(study)
    if not len(study.reference):
        study.reference = reference_point(study)
    study.timings["search"] = time.monotonic() - started
    return study


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums of several threads may differ in their last bits, and a front must not depend on who measured what."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # NumPy's, of which the proposals are made
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
        self._workers: LocalWorkers

    @property
    def late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    @contextmanager
    def local_workers(self) -> Iterator[None]:
        """Workers at work; each ends its evaluation in the end, whatever that is."""
        study, ledger = self.study, self.study.ledger
        ledger.study.set_user_attr(WORKPLACE, workplace(study.space))
        ledger.set_state(RUNNING)
        if study.workers != 1:
            assert study.storage is not None
            name, cache = study.space.spec.name, study.folder / "evaluations"
            self._workers = Processes(study.workers, study.storage, name, cache.resolve())
        else:
            self._workers = Thread(ledger.queue, study.space.networks, study.evaluators)
        try:
            yield
        finally:
            self._dismiss()

    def _dismiss(self) -> None:
        """Let every worker, of any machine, finish what it is measuring, and wait for those of this one."""
        self.study.ledger.set_state(ENDED)
        self._workers.stop()

    def begin(self, works: Sequence[Work]) -> Sequence[Work]:
        """Put candidates into the queue."""
        self.lease.check()
        for work in works:
            self.study.ledger.add(work)
        return works

    def end(self, works: Sequence[Work]) -> list[Work]:
        """Wait for candidates and count them, in order; those that have no quality, with the reason noted."""
        ledger, study, pause = self.study.ledger, self.study, _POLL_S[0]
        while True:
            began = time.monotonic()
            left = ledger.poll(works)
            if not left or self.late:
                break
            self._workers.check()
            self.report("evaluations", study.evaluations + len(works) - left, self.evaluations, works[0].proposed_by)
            looked_s = time.monotonic() - began
            time.sleep(max(pause, _PAUSE * looked_s))
            pause = min(1.2 * pause, _POLL_S[1])
        if left:
            self._dismiss()  # the time is up: what is being measured counts still
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
        study.measured[name].add(np.array(work.assignments[name]), Quality.from_dict(quality))
    return True


def _engine(run: _Run, make_engine: Callable[..., Engine], race: bool) -> None:
    """Rounds of: propose, queue, count the round before, which was measured meanwhile."""
    study = run.study
    run.end(run.begin([_work(study, *uniform) for uniform in uniform_designs(study)[: run.evaluations]]))
    study.reference = reference_point(study)
    scales = loss_scales(study)
    racing = Racing.of(scales, study.evaluators) if race else None
    engine = make_engine(
        study.space.networks,
        study.combiner,
        study.tables,
        study.reference,
        scales,
        seed=study.seed,
        log_losses=study.space.spec.search.losses == "log",
    )
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
            study.measured[name].add(np.array(record.assignments[name]), Quality.from_dict(quality))
    study.evaluations = sum(t.state.is_finished() for t in ledger.study.get_trials(deepcopy=False))
    waiting = [p for p, _ in uniform_designs(study)][study.evaluations :]
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
        for name, excess in _excess(study, accelerator, choices).items():
            trial.set_constraint(name, excess)
        ledger.take(trial, work, worker)
        count(study, work, run.report, run.evaluations)
        if not waiting and not len(study.reference):
            study.reference = reference_point(study)
        if len(study.reference) and study.evaluations % study.space.spec.search.batch == 0:
            remember(study)


def _excess(study: Study, accelerator: int, choices: Mapping[str, np.ndarray]) -> dict[str, float]:
    """By budget of a cost: the share by which the design exceeds it, negative where it keeps it, as Optuna wants it."""
    budgets = [(objective, limit) for objective, limit in study.space.budgets if not objective.is_quality]
    pools = {n: Pool(choice[None], np.array([np.nan])) for n, choice in choices.items()}
    values = study.combiner.values(np.array([accelerator]), pools, [objective for objective, _ in budgets])[0]
    return {o.name: min(float(v / limit - 1), 1e30) for (o, limit), v in zip(budgets, values, strict=True)}


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


def _try_metrics(study: Study, report: Progress) -> None:
    """Raises InputError where the deciding metric of a network is no loss that could be searched by."""
    for i, (name, evaluator) in enumerate(study.evaluators.items()):
        report("metrics tried", i, len(study.evaluators), name)
        study.float_qualities[name] = try_metric(evaluator)


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


def _work(study: Study, proposal: Proposal, proposed_by: str, enough: dict[str, float] | None = None) -> Work:
    """The proposal as a trial: its costs are known, its quality is what a worker finds."""
    space, accelerator = study.space, proposal.accelerator
    candidate = Candidate(accelerator, {n: net.assignment(proposal.choices[n]) for n, net in space.networks.items()})
    pools = {n: Pool(choice[None], np.array([np.nan])) for n, choice in proposal.choices.items()}
    costs = study.combiner.values(np.array([accelerator]), pools)[0]
    return Work(
        key=candidate.key,
        assignments={n: [int(i) for i in choice] for n, choice in proposal.choices.items()},
        objectives=tuple(
            str(o.task) if o.is_quality else float(v) for o, v in zip(space.objectives, costs, strict=True)
        ),
        hardware=hardware_parameters(space, accelerator),
        proposed_by=proposed_by,
        enough=enough or {},
    )
