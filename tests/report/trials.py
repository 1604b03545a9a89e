"""The trials of a search that ended with the designs of `tests.report.synthetic`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.trial import FrozenTrial, TrialState, create_trial

from codesign.designs import Candidate, Design
from codesign.formats import Assignment
from codesign.quality import Quality
from codesign.search.queue.trials import RESULT, Work, attributes, result_text
from tests.report.synthetic import OBJECTIVES

FIRST = 4  # trial that a design stands on
SPLIT = 10  # the first of the designs whose networks were measured by two trials
OTHER_CHIP = 3  # the design that has not its trial's accelerator


def trials_of(designs: Sequence[Design]) -> list[FrozenTrial]:
    """What a search that ended with these designs has measured: from FIRST on a trial for each of the first SPLIT of
    them, and two for the others; before and after these some that no design needs.
    """
    given = [d.assignments for d in designs]
    found = [_trial(given[i], designs[i], 99 if i == OTHER_CHIP else i) for i in range(SPLIT)]
    return [
        create_trial(state=TrialState.COMPLETE, values=[0.0] * len(OBJECTIVES)),  # of another program
        _trial(given[OTHER_CHIP], designs[OTHER_CHIP], of_part=True),
        _trial(given[OTHER_CHIP] | {"rewrite": given[0]["rewrite"]}, designs[1]),
        _trial(given[0], designs[1]),  # on another chip
        *found,
        _trial(given[SPLIT] | {"rewrite": given[SPLIT + 1]["rewrite"]}, designs[1]),
        _trial(given[SPLIT + 1] | {"rewrite": given[SPLIT]["rewrite"]}, designs[1]),
        create_trial(state=TrialState.WAITING),
    ]


def _trial(
    assignments: Mapping[str, Assignment], design: Design, accelerator: int = 99, *, of_part: bool = False
) -> FrozenTrial:
    """One that measured these assignments on an accelerator, with the values of `design`."""
    key = Candidate(accelerator, assignments).key
    quality = {t: Quality.from_dict(q.model_dump() | {"of_part": of_part}) for t, q in design.quality.items()}
    work = Work(key, {task: [0] for task in assignments}, (), {}, "engine")
    return create_trial(
        state=TrialState.PRUNED if of_part else TrialState.COMPLETE,
        values=None if of_part else list(design.objectives.values()),
        user_attrs=attributes(work) | {RESULT: result_text(quality, 1.0)},
    )
