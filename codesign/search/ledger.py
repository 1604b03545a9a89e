"""The study on disk: every measured candidate is one finished Optuna trial."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from codesign.errors import EnvironmentProblem, InputError
from codesign.search.objectives import Objective

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)

HARDWARE = ("unit", "dot", "rows", "columns", "sram_bytes", "dram", "dram_channels", "clock_hz")


@dataclass(frozen=True)
class Record:
    """What a finished trial holds.

    `key` names the candidate (accelerator and assignment digests); `quality` maps a task to the
    fields of its deciding `Quality`; `assignments` maps a task to its packed choice of pairs.
    """

    key: str
    values: tuple[float, ...]
    quality: dict[str, dict[str, Any]]
    assignments: dict[str, list[int]]
    hardware: dict[str, str]
    proposed_by: str
    seconds: float


def open_storage(url: str) -> BaseStorage:
    """``sqlite:///file``, any other SQLAlchemy URL, or a path ending in .log / .journal for a journal file.

    Raises EnvironmentProblem (without the password) when the storage does not answer.
    """
    try:
        if url.endswith((".log", ".journal")):
            return JournalStorage(JournalFileBackend(url.removeprefix("journal:///")))
        with _quiet("optuna.storages"):
            wait = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
            return RDBStorage(url, engine_kwargs=wait)
    except Exception as error:  # SQLAlchemy and drivers raise many kinds; one line of reason is what helps
        reason = str(getattr(error, "orig", error)).splitlines()[0] if str(error) else type(error).__name__
        raise EnvironmentProblem(f"storage {without_password(url)}: {reason}") from None


def without_password(url: str) -> str:
    """The URL with its password replaced by ***."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.split(':', 1)[0]}:***@{tail}" if at and ":" in user else url


class Ledger:
    """One Optuna study; finished trials by candidate key, so that a resumed search repeats nothing.

    Attributes `space_hash`, `code_version` and `seed` are written at creation; opening a study with
    others raises InputError and changes nothing. Trials left RUNNING by a killed process are failed.
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
        known = {s.study_name for s in optuna.get_all_study_summaries(storage, include_best_trial=False)}
        if name in known:
            self.study = optuna.load_study(study_name=name, storage=storage, sampler=optuna.samplers.RandomSampler())
            self._check(identity, name)
        elif must_exist:
            valid = ", ".join(sorted(known)) or "none"
            raise InputError(f"no study '{name}' to resume in this storage; valid: {valid}")
        else:
            self.study = optuna.create_study(
                study_name=name,
                storage=storage,
                sampler=optuna.samplers.RandomSampler(seed=0),
                directions=["minimize"] * len(objectives),
            )
            self.study.set_metric_names([o.name for o in objectives])
            for key, value in identity.items():
                self.study.set_user_attr(key, value)
        self.resumed = name in known
        self._records = {r.key: r for r in self._finished()}

    def _check(self, identity: dict[str, str], name: str) -> None:
        for key, value in identity.items():
            stored = self.study.user_attrs.get(key)
            if stored != value:
                raise InputError(
                    f"study '{name}' was made with {key} {stored}, now {value}: "
                    "results cannot be mixed; give another --out (or undo the change)"
                )

    def _finished(self) -> Iterator[Record]:
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING:
                self.study.tell(trial.number, state=TrialState.FAIL)
            elif trial.state == TrialState.COMPLETE:
                yield _record(trial)

    def get(self, key: str) -> Record | None:
        """The finished trial of this candidate, if any."""
        return self._records.get(key)

    def records(self) -> list[Record]:
        """All finished trials in the order of the ledger."""
        return list(self._records.values())

    def start(self, key: str, hardware: dict[str, str], proposed_by: str) -> optuna.Trial:
        """A RUNNING trial for the candidate, visible to a dashboard while it is measured."""
        with _storage_errors():
            self.study.enqueue_trial(hardware, user_attrs={"key": key, "proposed_by": proposed_by})
            return self.study.ask(self.distributions)

    def describe(self, trial: optuna.Trial, key: str, proposed_by: str) -> None:
        """Name a trial that one of Optuna's samplers asked for."""
        with _storage_errors():
            trial.set_user_attr("key", key)
            trial.set_user_attr("proposed_by", proposed_by)

    def finish(self, trial: optuna.Trial, record: Record) -> None:
        """Write a finished candidate; after this returns it survives any crash."""
        with _storage_errors():
            trial.set_user_attr("assignments", json.dumps(record.assignments))
            trial.set_user_attr("quality", json.dumps(record.quality))
            trial.set_user_attr("seconds", record.seconds)
            self.study.tell(trial, record.values)
        self._records[record.key] = record

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Write a failed candidate with its reason."""
        with _storage_errors():
            trial.set_user_attr("failed_because", reason)
            self.study.tell(trial, state=TrialState.FAIL)


def _record(trial: FrozenTrial) -> Record:
    attrs = trial.user_attrs
    return Record(
        key=attrs["key"],
        values=tuple(trial.values),
        quality=json.loads(attrs["quality"]),
        assignments=json.loads(attrs["assignments"]),
        hardware={k: str(v) for k, v in trial.params.items()},
        proposed_by=attrs["proposed_by"],
        seconds=attrs["seconds"],
    )


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        raise EnvironmentProblem(f"the study's storage failed: {str(error).splitlines()[0]}") from None


@contextlib.contextmanager
def _quiet(logger: str) -> Iterator[None]:
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def default_storage(folder: Path) -> str:
    """SQLite in the study's own folder."""
    return f"sqlite:///{(folder / 'study.db').resolve()}"
