"""The search loop of a study: sensitivities, uniform designs, then rounds of proposals and measurements."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from codesign.designs import Candidate
from codesign.designs.folder import EVALUATIONS
from codesign.quality import sensitivities, try_metric
from codesign.quality.unreached import Step
from codesign.search.engine.engine import Proposal
from codesign.search.engine.points import Designs, Pool
from codesign.search.queue.lease import Lease
from codesign.search.queue.state import ENDED, RUNNING
from codesign.search.queue.storage import quiet
from codesign.search.queue.trials import Failure, Work
from codesign.search.queue.worker import WORKPLACE, workplace
from codesign.search.queue.workers import LocalWorkers, Processes, Thread
from codesign.search.samplers.registry import ENGINE, strategy_factory
from codesign.search.samplers.strategy import Problem, Result, StrategyFactory
from codesign.search.space.axes import hardware_parameters
from codesign.search.study.log import log, logged
from codesign.search.study.progress import Progress
from codesign.search.study.replay import begin_with
from codesign.search.study.scales import loss_scales
from codesign.search.study.sentinels import choose, measure_again
from codesign.search.study.study import OpenStudy
from codesign.search.study.uniform import reference_point, uniform_designs

_POLL_S = (0.02, 0.1)  # first and longest pause between two reads of the workers' results
_STOPPING = "evaluations in progress are finished first, and kept; if stopped again, they are measured anew later"
_NO_MORE = "none that is not measured yet is expected to enlarge the front"
_PAUSE = 4  # a pause is at least this many times as long as the read before it, which grows with the batch


def run_study(
    study: OpenStudy,
    *,
    evaluations: int,
    timeout_s: float | None = None,
    sampler: str | StrategyFactory = ENGINE,
    progress: Progress | None = None,
) -> OpenStudy:
    """Measure up to `evaluations` candidates: the uniform designs, then what the strategy proposes.

    The search is deterministic in the seed and the measured values, taken in the order of proposals. A resumed study
    repeats its decisions and takes the outcomes of finished trials from the ledger, whichever worker measured them.

    Args:
        study: an open study; it is changed and returned.
        evaluations: number of candidates, those of earlier runs included.
        timeout_s: no evaluation starts after this many seconds.
        sampler: name of a strategy (`codesign.search.samplers.registry`), or a function from a `Problem` to one.
        progress: called with (stage, done, total, detail).
    Raises:
        InputError: unknown sampler, or another process searches this study.
        MovedError: a sentinel moved out of its interval.
        EnvironmentProblem: the storage or the workers fail.
    """
    started = time.monotonic()
    make = strategy_factory(sampler, search_path=study.space.path.parent) if isinstance(sampler, str) else sampler
    run = _Run(study, evaluations, None if timeout_s is None else started + timeout_s, progress or (lambda *_: None))
    begin = f"study {study.space.spec.name}, {evaluations} evaluations, seed {study.seed}, {study.workers} workers"
    lease = Lease(study.ledger.storage, study.ledger.study_id, study.space.spec.name)
    with logged(study.folder, begin), lease as run.lease, _one_thread(), quiet():
        study.sentinels = measure_again(study, run.report)
        _try_metrics(study, run.report)
        _sensitivities(study, run.report)
        with run.local_workers():
            _rounds(run, make, _label(sampler))
        choose(study)
        log.info("end: %d evaluations; %s", study.evaluations, study.ended)
    if not len(study.reference):
        study.reference = reference_point(study)
    study.timings["search"] = time.monotonic() - started
    return study


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: sums over several threads may differ in their last bits, and with them the front."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):  # NumPy's threads, which compute the proposals
            yield
    finally:
        torch.set_num_threads(threads)


class Queued(NamedTuple):
    """A proposal and the work of its trial."""

    proposal: Proposal
    work: Work


class _Run:
    """One call of `run_study`: its budget, its lease and its workers."""

    def __init__(self, study: OpenStudy, evaluations: int, deadline: float | None, report: Progress) -> None:
        self.study = study
        self.evaluations = evaluations
        self.report = report
        self.standing = ""  # of the front, for the progress
        self.lease: Lease
        self._deadline = deadline
        self._workers: LocalWorkers

    @property
    def late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    @contextmanager
    def local_workers(self) -> Iterator[None]:
        """Run the local workers, unless the time is up; on exit, also after an error, each finishes its trial."""
        if self.late:
            yield
            return
        study, ledger = self.study, self.study.ledger
        ledger.set_attribute(WORKPLACE, workplace(study.space))
        ledger.set_state(RUNNING)
        if study.workers != 1:
            assert study.storage is not None
            name, cache = study.space.spec.name, study.folder / EVALUATIONS
            self._workers = Processes(study.workers, study.storage, name, cache.resolve())
        else:
            self._workers = Thread(ledger.queue, study.space.networks, study.evaluators)
        try:
            yield
        except KeyboardInterrupt:
            with suppress(OSError):  # the terminal may be gone
                self.report("stopping", study.workers, study.workers, _STOPPING)
            raise
        finally:
            self._dismiss()

    def _dismiss(self) -> None:
        """Let all workers finish their current trials, on any machine, and wait for those of this process."""
        self.study.ledger.set_state(ENDED)
        self._workers.stop()

    def begin(self, proposals: Sequence[tuple[Proposal, str]]) -> list[Queued]:
        """Enqueue candidates, given as (proposal, name of what proposed it); after the timeout only finished ones."""
        self.lease.check()
        queued = [Queued(proposal, _work(self.study, proposal, by)) for proposal, by in proposals]
        if self.late:
            queued = [each for each in queued if self.study.ledger.get(each.work.key) is not None]
        for each in queued:
            self.study.ledger.add(each.work)
        return queued

    def end(self, queued: Sequence[Queued]) -> list[Result]:
        """Wait for candidates and add their results to the study, in order.

        After the timeout it waits only for trials that are being measured.
        """
        ledger, study, pause = self.study.ledger, self.study, _POLL_S[0]
        works = [each.work for each in queued]
        while True:
            began = time.monotonic()
            left = ledger.poll(works)
            if not left or self.late:
                break
            self._workers.check()
            self.report("evaluations", study.evaluations + len(works) - left, self.evaluations, self._by(works[0]))
            looked_s = time.monotonic() - began
            time.sleep(max(pause, _PAUSE * looked_s))
            pause = min(1.2 * pause, _POLL_S[1])
        if left:
            self._dismiss()  # the time is up: trials that are being measured still count
            ledger.poll(works)
        return [found for each in queued if (found := self._count(each)) is not None]

    def _by(self, work: Work) -> str:
        """What the progress says of an evaluation: what proposed it, and where the front stands."""
        return f"{work.proposed_by}{self.standing}"

    def _count(self, queued: Queued) -> Result | None:
        """Add the outcome of a candidate to the study; None if it has none yet."""
        study, proposal = self.study, queued.proposal
        found = study.ledger.get(queued.work.key)
        if found is None:
            return None
        study.evaluations += 1
        self.report("evaluations", study.evaluations, self.evaluations, self._by(queued.work))
        if isinstance(found, Failure):
            study.failures.append(f"{found.key}: {found.reason}")
            log.info("failed: %s: %s", found.key, found.reason)
            return Result(proposal, {}, ())
        for name, quality in found.quality.items():
            study.measured[name].add(proposal.choices[name], quality)
        return Result(proposal, found.quality, queued.work.values(found.quality))  # at today's prices


def _label(sampler: str | StrategyFactory) -> str:
    """The sampler's name, as trials record it in `proposed_by`."""
    if isinstance(sampler, str):
        return "engine" if sampler == ENGINE else sampler
    return str(getattr(sampler, "__name__", "a strategy"))


def _rounds(run: _Run, make: StrategyFactory, proposed_by: str) -> None:
    """Measure the uniform designs, then rounds: propose a batch, enqueue it, add the results of the batch before.

    A batch is proposed while the one before is pending, so that workers are never idle.
    """
    study, search = run.study, run.study.space.spec.search
    known = begin_with(study, proposed_by)
    uniform = run.begin(uniform_designs(study)[: run.evaluations])
    results = run.end(uniform)
    study.reference = reference_point(study)
    first = {queued.work.key for queued in uniform}
    results += run.end([queued for queued in run.begin(known) if queued.work.key not in first])
    strategy = make(_problem(study))
    queued: list[Queued] = []
    while True:
        strategy.tell(results)
        front = strategy.front()
        remember(study, front)
        size = "" if front is None else f", front {len(front):,}"
        run.standing = f"{size}, hypervolume {study.history[-1]['hypervolume']:.4g}"
        log.info("round: %d evaluations, hypervolume %.6g", study.evaluations, study.history[-1]["hypervolume"])
        if run.late:
            study.ended = "the time was up"
            break
        room = max(run.evaluations - study.evaluations - len(queued), 0)
        asked = strategy.propose(min(search.batch, room), [each.proposal for each in queued]) if room else []
        begun = run.begin([(proposal, proposed_by) for proposal in asked])
        results = run.end(queued)
        if not begun and not queued:
            study.ended = _why_no_more(study) if room else "all were done"
            break  # nothing is left to measure
        queued = begun
    remember(study, strategy.front(), at_the_end=True)


def _why_no_more(study: OpenStudy) -> str:
    """Why nothing was proposed although evaluations were left."""
    possible = study.space.assignments()
    if any(study.measured[name].tried < count for name, count in possible.items()):
        return f"the sampler proposes no further candidate: {_NO_MORE}"
    count = sum(possible.values())
    if count == 1:
        return "the only choice of formats of the space was tried"
    alone = len(possible) == len(study.space.grid) == 1  # else a design is more than one network's formats
    return f"all {count:,} {'designs' if alone else 'choices of formats'} of the space were tried"


def _problem(study: OpenStudy) -> Problem:
    """The `Problem` for a strategy, once the uniform designs are measured."""
    subsets = {name: evaluator.part for name, evaluator in study.evaluators.items()}
    return Problem(
        space=study.space,
        combiner=study.combiner,
        tables=study.tables,
        reference=study.reference,
        scales=loss_scales(study),
        shares={name: subset.share for name, subset in subsets.items() if subset},
        seed=study.seed,
        workers=study.workers,
    )


def remember(study: OpenStudy, front: Designs | None = None, *, at_the_end: bool = False) -> None:
    """Append the front's hypervolume to the history, at most once per batch, and less often in long studies.

    Args:
        study: the study.
        front: its current front; computed if None.
        at_the_end: whether to record it in any case.
    """
    before = study.history[-1]["evaluations"] if study.history else 0
    due = before + 1
    if study.history and not at_the_end:
        due = max(before + (study.space.spec.search.batch if front is None else 1), 1.02 * before)
    if study.evaluations >= due:
        found = study.front() if front is None else front
        study.history.append({"evaluations": study.evaluations, "hypervolume": study.hypervolume(found)})


def _try_metrics(study: OpenStudy, report: Progress) -> None:
    """Evaluate the float networks; raises InputError if a deciding metric cannot serve as a loss."""
    for i, (name, evaluator) in enumerate(study.evaluators.items()):
        report("metrics tried", i, len(study.evaluators), name)
        study.float_qualities[name] = try_metric(evaluator)


def _sensitivities(study: OpenStudy, report: Progress) -> None:
    """Compute the sensitivity table of every network, or read it from the cache."""
    started = time.monotonic()
    for i, (name, network) in enumerate(study.space.networks.items()):
        report("sensitivities", i, len(study.space.networks), name)
        evaluator, key = study.evaluators[name], "|".join(map(str, study.space.pairs))
        table = evaluator.cache.get(key, f"sensitivities-{study.seed}") if evaluator.cache else None
        if table is None:
            table = sensitivities(evaluator, study.space.pairs, seed=study.seed, step=_measuring(name, report)).tolist()
            if evaluator.cache:
                evaluator.cache.put(key, f"sensitivities-{study.seed}", table)
        study.tables[name] = np.where(network.allowed, np.array(table), np.inf)
    study.timings["sensitivities"] = time.monotonic() - started


def _measuring(network: str, report: Progress) -> Step:
    """Says which layers of a network are measured in the place of an estimate."""
    said: set[str] = set()

    def step(done: int, total: int, layer: str) -> None:
        if layer not in said:
            said.add(layer)
            log.info(
                "sensitivities: %s: no gradient of the outputs reaches layer %s: its losses are measured",
                network,
                layer,
            )
        report("sensitivities measured", done, total, f"{network} {layer}")

    return step


def _work(study: OpenStudy, proposal: Proposal, proposed_by: str) -> Work:
    """The proposal as work for a trial: its costs are computed here, its qualities measured by a worker."""
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
        enough=proposal.enough,
    )
