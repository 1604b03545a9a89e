"""The encoding of a candidate and its result as an Optuna trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, TypeVar

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field, TypeAdapter, ValidationError

from codesign.errors import InputError
from codesign.jsonio import parse_json
from codesign.quality import Quality

T = TypeVar("T")

# user attributes of a trial
WORK, RESULT, FAILED, ALIVE, STOPPED = "work", "measured", "failed_because", "alive", "stopped"


@dataclass(frozen=True)
class Work:
    """The work that a waiting trial describes: a candidate to measure."""

    key: str  # `Candidate.key`
    assignments: dict[str, list[int]]  # task -> pair index per layer
    objectives: tuple[float | str, ...]  # the value, if the cost model gives it; else the task whose quality it is
    hardware: dict[str, str]  # hardware axis -> value: the trial's parameters
    proposed_by: str
    enough: dict[str, float] = field(default_factory=dict)  # `Proposal.enough`

    def values(self, quality: Mapping[str, Quality]) -> tuple[float, ...]:
        """The values of all objectives, given the measured qualities; () if one is of a subset of the samples."""
        if any(one.of_part for one in quality.values()):
            return ()
        return tuple(quality[v].value if isinstance(v, str) else v for v in self.objectives)


@dataclass(frozen=True)
class TrialResult:
    """The result of a finished trial."""

    key: str  # `Candidate.key`
    values: tuple[float, ...]  # of the objectives; () if the trial was pruned after a subset of a network's samples
    quality: dict[str, Quality]  # the deciding metric, by network
    assignments: dict[str, list[int]]  # network -> pair index per layer
    hardware: dict[str, str]
    proposed_by: str
    seconds: float

    @property
    def accelerator(self) -> int:
        """The index of its accelerator in the space's grid."""
        return int(self.key.partition("|")[0])


@dataclass(frozen=True)
class Failure:
    """A candidate that cannot be measured, and the reason."""

    key: str
    reason: str


@dataclass
class _WrittenWork:
    assignments: dict[str, list[Annotated[int, Field(ge=0)]]]
    objectives: list[float | str]
    proposed_by: str
    enough: dict[str, float] = field(default_factory=dict)


@dataclass
class _WrittenResult:
    quality: dict[str, Quality]
    seconds: float


_WORK, _RESULT = TypeAdapter(_WrittenWork), TypeAdapter(_WrittenResult)


def _read(trial: FrozenTrial, attribute: str, form: TypeAdapter[T]) -> T:
    """A user attribute in JSON; raises InputError that names the trial if somebody changed it."""
    name = f"trial {trial.number}: its attribute '{attribute}'"
    try:
        # a design that no DRAM holds has an infinite cost
        return form.validate_python(parse_json(str(trial.user_attrs.get(attribute)), name, finite=attribute != WORK))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def attributes(work: Work) -> dict[str, str]:
    """The user attributes of a waiting trial; only two, as a database writes each by a statement of its own."""
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
    """The work that the trial describes; raises InputError if codesign did not write it."""
    written = _read(trial, WORK, _WORK)
    return Work(
        str(trial.user_attrs["key"]),
        written.assignments,
        tuple(written.objectives),
        {k: str(v) for k, v in trial.params.items()},
        written.proposed_by,
        written.enough,
    )


def result_text(quality: Mapping[str, Quality], seconds: float) -> str:
    """The value of the attribute RESULT of a finished trial, in JSON."""
    return json.dumps({"quality": {name: one.to_dict() for name, one in quality.items()}, "seconds": seconds})


def outcome(trial: FrozenTrial) -> TrialResult | Failure | None:
    """The outcome of a trial; None if it is not finished, was stopped, or was not created by codesign."""
    attrs = trial.user_attrs
    if "key" not in attrs:
        return None
    if trial.state == TrialState.FAIL and FAILED in attrs and STOPPED not in attrs:
        return Failure(attrs["key"], attrs[FAILED])
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or RESULT not in attrs:
        return None
    work, found = work_of(trial), _read(trial, RESULT, _RESULT)
    values: Sequence[float] = trial.values or ()
    return TrialResult(
        work.key, tuple(values), found.quality, work.assignments, work.hardware, work.proposed_by, found.seconds
    )
