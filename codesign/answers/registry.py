"""The questions that ``codesign ask`` answers, by name."""

from __future__ import annotations

from collections.abc import Mapping

from codesign.answers.fp8_or_int8 import BUY
from codesign.answers.older_node import OLDER
from codesign.answers.phone_gpu import GPU
from codesign.answers.question import Question
from codesign.answers.smallest_chip import REAL_TIME, SMALLEST
from codesign.answers.sram_knee import KNEE
from codesign.answers.tokens import TOKENS
from codesign.errors import InputError, nearest

QUESTIONS: Mapping[str, Question] = {
    question.name: question for question in (SMALLEST, REAL_TIME, TOKENS, KNEE, BUY, OLDER, GPU)
}


def question_named(name: str) -> Question:
    """The question called `name`; raises InputError with the nearest name if there is none."""
    if name not in QUESTIONS:
        raise InputError(f"unknown question '{name}'{nearest(name, QUESTIONS)}")
    return QUESTIONS[name]
