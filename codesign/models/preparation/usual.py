"""Preparation by words: that which most networks gain from, none, or given steps."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from codesign.errors import InputError, nearest
from codesign.models.preparation.task import prepared
from codesign.models.preparation.types import STEPS, Step
from codesign.models.streaming import reads_blocks
from codesign.models.task import Task

log = logging.getLogger(__name__)

USUAL, NONE = "usual", "none"
# what helps language models in every format, and harms no other network (reports/quantization.md)
USUAL_STEPS: tuple[Step, ...] = ("fold", "rotate")
_MOST_BYTES = 2 << 30  # of a network that is prepared unasked: it is copied twice


def steps_of(words: Sequence[str]) -> tuple[str, ...]:
    """Steps written as ``fold, rotate``, or as one word, ``usual`` or ``none``.

    Raises InputError on an unknown step, and on a word beside others.
    """
    for word in words:
        if word not in (*STEPS, USUAL, NONE):
            raise InputError(f"unknown step of preparation '{word}'{nearest(word, (*STEPS, USUAL, NONE))}")
        if word in (USUAL, NONE) and len(words) > 1:
            raise InputError(f"'{word}' stands alone, or list some of {', '.join(STEPS)}")
    return () if list(words) == [NONE] else tuple(dict.fromkeys(words))


def prepared_by(task: Task, words: Sequence[str]) -> Task:
    """A task prepared by steps or by a word, see `steps_of`.

    By ``usual``, a network that is read block by block or that is very large stays as it is, and so does one that
    cannot be prepared: a warning says why. Raises InputError as `prepared` if steps are given.
    """
    if list(words) != [USUAL]:
        steps = [step for word in words for step in STEPS if step == word]
        return prepared(task, steps) if steps else task
    size = sum(p.numel() * p.element_size() for p in task.module.parameters())
    if reads_blocks(task.module) or size > _MOST_BYTES:
        return task
    try:
        return prepared(task, USUAL_STEPS)
    except Exception as error:  # a network of another kind than any that was tried must still be measured
        log.warning("%s is not prepared for quantization (prepare: none): %s", task.name, error)
        return task
