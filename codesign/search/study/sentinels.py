"""Sentinels: assignments that are measured again whenever a study is resumed, to detect a changed environment.

`space_hash`, `code_version` and `task_code` detect a changed network, data or code that measures. They do not detect a
new version of torch, another processor or failing memory, which may change values too; a study must not mix them.
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
_RUNS = 100  # resumptions whose values the study keeps


class _Chosen(TypedDict):
    """A chosen assignment, with its quality and interval at that time."""

    rank: str
    choice: list[int]  # pair index per layer
    value: float
    low: float
    high: float


class _Run(TypedDict):
    """The values of all sentinels in one resumption."""

    torch: str
    values: list[float]


class _Written(TypedDict):
    """The study attribute that holds the sentinels."""

    chosen: dict[str, list[_Chosen]]  # by network
    torch: str  # version when they were chosen
    runs: NotRequired[list[_Run]]
    nights: NotRequired[list[_Run]]  # the name of `runs` in older studies


class MovedError(CodesignError):
    """A sentinel moved out of its interval: values measured now cannot be mixed with the study's."""

    exit_code = 1


def choose(study: OpenStudy) -> None:
    """Choose the sentinels of a study, unless it has some: of every network the best, median and worst quality."""
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
    """Measure the sentinels of a resumed study again, without the cache; [] if none were chosen yet.

    Raises MovedError if one lies outside its interval. The values are recorded in the study in either case.
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
