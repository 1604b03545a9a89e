"""The attributes of a trial that somebody changed are refused with the trial's number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from codesign.errors import InputError
from codesign.quality import Quality
from codesign.search.queue.trials import RESULT, WORK, TrialResult, Work, attributes, outcome, result_text, work_of

WORK_DONE = Work("0|tiny=00", {"tiny": [0, 1]}, (1.0, "tiny"), {}, "engine")
QUALITY = {"tiny": Quality("loss", "", "minimize", 1.0, 0.9, 1.1, 4, draws=(1.0, 1.1))}


def trial(**changed: Any) -> FrozenTrial:
    attrs = attributes(WORK_DONE) | {RESULT: result_text(QUALITY, 0.5)} | changed
    return create_trial(state=TrialState.COMPLETE, values=[1.0, 1.0], user_attrs=attrs)


def test_what_was_written_is_read() -> None:
    assert work_of(trial()) == WORK_DONE
    found = outcome(trial())
    assert isinstance(found, TrialResult)
    assert (found.quality, found.assignments, found.seconds) == (QUALITY, {"tiny": [0, 1]}, 0.5)


@pytest.mark.parametrize(
    ("attribute", "path", "value"),
    [
        (WORK, ("assignments",), {"tiny": ["int8"]}),
        (WORK, ("assignments",), {"tiny": [-1]}),
        (WORK, ("objectives",), None),
        (WORK, ("proposed_by",), 3),
        (RESULT, ("quality",), []),
        (RESULT, ("quality", "tiny", "value"), "small"),
        (RESULT, ("quality", "tiny", "value"), float("nan")),
        (RESULT, ("seconds",), None),
    ],
)
def test_a_changed_attribute_is_one_line(attribute: str, path: tuple[str, ...], value: object) -> None:
    written = json.loads(trial().user_attrs[attribute])
    inner = written
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(InputError, match=f"its attribute '{attribute}'"):
        outcome(trial(**{attribute: json.dumps(written)}))


@pytest.mark.parametrize("text", ["", "[" * 5000, "{}", "null", "[]"])
def test_an_attribute_that_is_something_else_is_one_line(text: str) -> None:
    for attribute in (WORK, RESULT):
        with pytest.raises(InputError, match=f"its attribute '{attribute}'"):
            outcome(trial(**{attribute: text}))
