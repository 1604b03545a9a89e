"""Assignments that are measured again whenever a study goes on: does this machine still find what was found?

`space_hash` and `code_version` guard against another network, other data and other code of ours. What they do not see
(a new torch, another processor, a failing memory) changes measured values, and a study would mix both.
"""

from __future__ import annotations

import json
from typing import NotRequired, TypedDict

import numpy as np
import torch

from codesign.errors import CodesignError
from codesign.search.queue.storage import patient
from codesign.search.study.progress import Progress
from codesign.search.study.sentinel import Sentinel
from codesign.search.study.study import OpenStudy

_ATTRIBUTE = "sentinels"
_RUNS = 100  # of which the study remembers what was found


class _Chosen(TypedDict):
    """An assignment to be measured again, and the interval of its quality when it was chosen."""

    rank: str
    choice: list[int]  # a pair of the space per layer
    value: float
    low: float
    high: float


class _Run(TypedDict):
    torch: str
    values: list[float]


class _Written(TypedDict):
    """What the study remembers. nights: `runs` in studies from before it had that name."""

    chosen: dict[str, list[_Chosen]]
    torch: str
    runs: NotRequired[list[_Run]]
    nights: NotRequired[list[_Run]]


class MovedError(CodesignError):
    """A sentinel came out otherwise than its interval allows: what would be measured now does not belong here."""

    exit_code = 1


def choose(study: OpenStudy) -> None:
    """Note which assignments are measured again from now on: of every network the best, the middle and the worst."""
    if study.measured and all(m.choices for m in study.measured.values()) and not _written(study):
        chosen: dict[str, list[_Chosen]] = {}
        for name, measured in study.measured.items():
            order = np.argsort([q.value for q in measured.qualities], kind="stable")
            ranks = {"best": order[0], "middle": order[len(order) // 2], "worst": order[-1]}
            chosen[name] = [
                _Chosen(rank=rank, choice=measured.choices[i].tolist(), value=q.value, low=q.low, high=q.high)
                for rank, i, q in ((rank, i, measured.qualities[i]) for rank, i in ranks.items())
            ]
        _write(study, {"chosen": chosen, "torch": torch.__version__, "runs": []})


def measure_again(study: OpenStudy, report: Progress) -> list[Sentinel]:
    """The sentinels of a study that goes on, measured anew past every cache; [] where none were chosen yet.

    Raises MovedError where one lies outside its interval; what was found is noted in the study either way.
    """
    written = _written(study)
    if not written:
        return []
    found: list[Sentinel] = []
    wanted = [(name, each) for name, chosen in written["chosen"].items() for each in chosen]
    for i, (name, each) in enumerate(wanted):
        report("sentinels", i, len(wanted), name)
        assignment = study.space.networks[name].assignment(np.array(each["choice"]))
        now = study.evaluators[name].again(assignment).value
        found.append(Sentinel(name, each["rank"], each["value"], each["low"], each["high"], now))
    report("sentinels", len(wanted), len(wanted), "")
    run = _Run(torch=torch.__version__, values=[s.now for s in found])
    written["runs"] = [*written.get("runs", written.pop("nights", [])), run][-_RUNS:]
    _write(study, written)
    gone = next((s for s in found if s.moved in ("worse", "better")), None)
    if gone is not None:
        versions = {written["torch"], torch.__version__}
        with_torch = f"; torch was {written['torch']} then, {torch.__version__} now" if len(versions) > 1 else ""
        raise MovedError(
            f"study '{study.space.spec.name}' cannot go on: the {gone.rank} assignment of {gone.task} measured "
            f"{gone.before:.6g} ({gone.low:.6g} to {gone.high:.6g}) and measures {gone.now:.6g} now{with_torch}; "
            "results cannot be mixed: find out why, or begin anew with another --out and compare by codesign diff"
        )
    return found


@patient
def _written(study: OpenStudy) -> _Written | None:
    text = study.ledger.storage.get_study_user_attrs(study.ledger.study_id).get(_ATTRIBUTE)
    found: _Written | None = json.loads(text) if text else None
    return found


@patient
def _write(study: OpenStudy, content: _Written) -> None:
    study.ledger.storage.set_study_user_attr(study.ledger.study_id, _ATTRIBUTE, json.dumps(content))
