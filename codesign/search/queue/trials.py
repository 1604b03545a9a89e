"""How a candidate and what came of it are written in an Optuna trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from codesign.quality import Quality

WORK, RESULT, FAILED, ALIVE, STOPPED = "work", "measured", "failed_because", "alive", "stopped"


@dataclass(frozen=True)
class Work:
    """What a waiting trial asks for.

    key: names the candidate (accelerator and assignment digests); assignments: task -> packed choice of pairs;
    objectives: a number where the cost model gives it, the task's name where its quality is to be measured;
    enough: task -> value of a part of the samples beyond which the others need not be run.
    """

    key: str
    assignments: dict[str, list[int]]
    objectives: tuple[float | str, ...]
    hardware: dict[str, str]
    proposed_by: str
    enough: dict[str, float] = field(default_factory=dict)

    def values(self, quality: Mapping[str, Quality]) -> tuple[float, ...]:
        """All objectives, with the measured qualities; none where one is that of a part of the samples."""
        if any(one.of_part for one in quality.values()):
            return ()
        return tuple(quality[v].value if isinstance(v, str) else v for v in self.objectives)


@dataclass(frozen=True)
class TrialResult:
    """A finished trial. quality: the deciding one of every network.

    values: of the objectives; empty where a network was given up on a part of its samples, and the trial pruned.
    """

    key: str
    values: tuple[float, ...]
    quality: dict[str, Quality]
    assignments: dict[str, list[int]]
    hardware: dict[str, str]
    proposed_by: str
    seconds: float


@dataclass(frozen=True)
class Failure:
    """A candidate that has no quality, and why."""

    key: str
    reason: str


def attributes(work: Work) -> dict[str, str]:
    """The trial's user attributes that say what to measure: few, as a database writes each by itself."""
    written = asdict(work)
    del written["hardware"]  # the trial's parameters
    return {"key": written.pop("key"), WORK: json.dumps({k: v for k, v in written.items() if v != {}})}


def waiting_trial(work: Work, distributions: Mapping[str, BaseDistribution]) -> FrozenTrial:
    """A trial that waits for a worker."""
    return create_trial(
        state=TrialState.WAITING,
        params=work.hardware,
        distributions=dict(distributions),
        user_attrs=attributes(work),
    )


def work_of(trial: FrozenTrial) -> Work:
    """What the trial asks for; KeyError where another program made it."""
    written = json.loads(trial.user_attrs[WORK])
    return Work(
        trial.user_attrs["key"],
        written["assignments"],
        tuple(written["objectives"]),
        {k: str(v) for k, v in trial.params.items()},
        written["proposed_by"],
        written.get("enough", {}),
    )


def result_text(quality: Mapping[str, Quality], seconds: float) -> str:
    """The one attribute that a finished trial has more."""
    return json.dumps({"quality": {name: one.to_dict() for name, one in quality.items()}, "seconds": seconds})


def outcome(trial: FrozenTrial) -> TrialResult | Failure | None:
    """What came of a trial; None where it is not finished, was stopped, or is not of this kind."""
    attrs = trial.user_attrs
    if "key" not in attrs:
        return None
    if trial.state == TrialState.FAIL and FAILED in attrs and STOPPED not in attrs:
        return Failure(attrs["key"], attrs[FAILED])
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or RESULT not in attrs:
        return None
    work, found = work_of(trial), json.loads(attrs[RESULT])
    values: Sequence[float] = trial.values or ()
    quality = {name: Quality.from_dict(fields) for name, fields in found["quality"].items()}
    return TrialResult(
        work.key, tuple(values), quality, work.assignments, work.hardware, work.proposed_by, found["seconds"]
    )
