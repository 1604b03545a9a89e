"""The ledger of a study: an Optuna study in which every measured candidate is one finished trial."""

from __future__ import annotations

import json
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from codesign.errors import InputError
from codesign.search.queue.queue import Queue, Watch
from codesign.search.queue.state import set_state
from codesign.search.queue.storage import patient, quiet
from codesign.search.queue.trials import Failure, TrialResult, Work, outcome, waiting_trial
from codesign.search.space.changes import changes
from codesign.search.space.objectives import Objective

SPACE = "space"  # attribute: the space in words, for the error where another one is given
_LATER = ("ranges", "task_code", SPACE)  # attributes that older studies do not have
_TRIES = 3  # attempts per candidate, if its worker dies each time


class Ledger:
    """An Optuna study with its finished trials by candidate key, so that a resumed search measures nothing twice.

    `identity` (`space_hash`, `space`, `code_version`, `task_code`, `seed`, `ranges`) is written at creation as study
    attributes. Opening a study whose attributes differ raises InputError and changes nothing.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        objectives: Sequence[Objective],
        identity: dict[str, str],
        choices: dict[str, Sequence[str]],
        *,
        must_exist: bool = False,
    ) -> None:
        self.distributions: dict[str, BaseDistribution] = {
            k: CategoricalDistribution(tuple(v)) for k, v in choices.items()
        }
        self.storage = storage
        with quiet():
            self.resumed = self._open(name, objectives, identity, must_exist)
        self.study_id = self.study._study_id
        self.queue = Queue(storage, self.study_id)
        self._watch = Watch()
        self._ids: dict[str, int] = {}  # candidate key -> its newest trial, while it is not finished
        self._outcomes: dict[str, TrialResult | Failure] = {}
        self._numbers: dict[str, int] = {}  # candidate key -> number of the trial with its outcome
        self._stopped: dict[str, int] = {}  # candidate key -> how often its worker died
        for trial in self._trials():
            self._read(trial)

    @patient
    def _open(self, name: str, objectives: Sequence[Objective], identity: dict[str, str], must_exist: bool) -> bool:
        known = {s.study_name for s in optuna.get_all_study_summaries(self.storage, include_best_trial=False)}
        if name in known:
            self.study = optuna.load_study(
                study_name=name, storage=self.storage, sampler=optuna.samplers.RandomSampler()
            )
            if not self._unwritten(objectives, identity):
                self._check(identity, name)
                return True
        elif must_exist:
            valid = ", ".join(sorted(known)) or "none"
            raise InputError(f"no study '{name}' to resume in this storage; valid: {valid}")
        else:
            self.study = optuna.create_study(
                study_name=name,
                storage=self.storage,
                sampler=optuna.samplers.RandomSampler(seed=0),
                directions=["minimize"] * len(objectives),
            )
        self.study.set_metric_names([o.name for o in objectives])
        for key, value in identity.items():
            self.study.set_user_attr(key, value)
        return False

    def _unwritten(self, objectives: Sequence[Objective], identity: dict[str, str]) -> bool:
        """Whether the study is one of ours whose first process died before it had written all attributes."""
        written, named = self.study.user_attrs, self.study.metric_names
        return (
            not self.study.get_trials(deepcopy=False)
            and all(identity.get(key) == value for key, value in written.items())
            and self.study.directions == [StudyDirection.MINIMIZE] * len(objectives)
            and named in (None, [o.name for o in objectives])
            and len(written) < len(identity)
        )

    def _check(self, identity: dict[str, str], name: str) -> None:
        for key, value in identity.items():
            stored = self.study.user_attrs.get(key)
            if key == SPACE or (stored is None and key in _LATER):
                continue
            if stored is None:
                raise InputError(f"study '{name}' in this storage was not made by codesign: it has no {key}")
            if stored != value:
                what = f"{key} {stored}, now {value}"
                if key == "space_hash" and SPACE in self.study.user_attrs:
                    before, now = json.loads(self.study.user_attrs[SPACE]), json.loads(identity[SPACE])
                    what = f"another space ({changes(before, now) or what})"
                raise InputError(
                    f"study '{name}' was made with {what}: "
                    "results cannot be mixed; give another --out (or undo the change)"
                )

    @patient
    def _trials(self) -> list[FrozenTrial]:
        return list(self.study.get_trials(deepcopy=False))

    def _read(self, trial: FrozenTrial) -> None:
        """Record the outcome of a trial; of several trials of one candidate the first to finish counts."""
        key, found = trial.user_attrs.get("key"), outcome(trial)
        if key is None:
            return
        if found is not None:
            self._outcomes.setdefault(key, found)
            self._numbers.setdefault(key, trial.number)
            self._ids.pop(key, None)
        elif trial.state in (TrialState.WAITING, TrialState.RUNNING) and key not in self._outcomes:
            self._ids[key] = trial._trial_id
        elif self._ids.get(key) == trial._trial_id:
            del self._ids[key]

    def get(self, key: str) -> TrialResult | Failure | None:
        """The outcome of this candidate; None if it is not known yet."""
        return self._outcomes.get(key)

    def records(self) -> list[TrialResult]:
        """The results of all measured candidates, in the order in which they became known."""
        return [r for r in self._outcomes.values() if isinstance(r, TrialResult)]

    def numbered(self) -> dict[int, TrialResult]:
        """The results of all measured candidates by the number of their trial."""
        return {self._numbers[record.key]: record for record in self.records()}

    def add(self, work: Work) -> None:
        """Enqueue the candidate, unless it is in the queue or has been measured."""
        if work.key not in self._outcomes and work.key not in self._ids:
            self._ids[work.key] = self._create(work, [False])

    @patient
    def _create(self, work: Work, tried: list[bool]) -> int:
        if tried[0]:  # the first call may have created the trial and lost its answer
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
                if trial.user_attrs.get("key") == work.key:
                    return int(trial._trial_id)
        tried[0] = True
        return int(self.storage.create_new_trial(self.study_id, waiting_trial(work, self.distributions)))

    def poll(self, works: Sequence[Work]) -> int:
        """Read the outcomes of these candidates from the storage; returns how many are not finished.

        A candidate whose worker died is enqueued again, at most _TRIES times.
        """
        left, trials = 0, {}
        if any(work.key not in self._outcomes for work in works):
            trials = {trial._trial_id: trial for trial in self._trials()}  # one query: storages cache finished trials
        for work in works:
            if work.key in self._outcomes:
                continue
            trial = trials[self._ids[work.key]]
            if trial.state == TrialState.RUNNING and self._watch.abandoned(trial):
                self.queue.stop(trial._trial_id, "its worker stopped")
                trial = self._trial(trial._trial_id)
            self._read(trial)
            if trial.state == TrialState.FAIL and work.key not in self._outcomes:
                self._again(work)
            left += work.key not in self._outcomes
        return left

    def _again(self, work: Work) -> None:
        self._stopped[work.key] = self._stopped.get(work.key, 0) + 1
        if self._stopped[work.key] >= _TRIES:
            self._outcomes[work.key] = Failure(work.key, f"its worker stopped, {_TRIES} times")
        else:
            self.add(work)

    @patient
    def _trial(self, trial_id: int) -> FrozenTrial:
        return self.storage.get_trial(trial_id)

    @patient
    def set_attribute(self, name: str, value: str) -> None:
        """Write an attribute of the study, for workers to read."""
        self.study.set_user_attr(name, value)

    def set_state(self, state: str) -> None:
        """Tell workers whether the study goes on: `RUNNING` or `ENDED`."""
        set_state(self.storage, self.study_id, state)
