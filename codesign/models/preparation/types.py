"""What was done to a network before it is quantized, in words and names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Step = Literal["fold", "equalize", "smooth", "rotate"]
STEPS: tuple[Step, ...] = get_args(Step)


@dataclass(frozen=True)
class Match:
    """Modules whose weights were changed together."""

    step: Step
    what: str  # in words: "gain into the layers that read it"
    modules: tuple[str, ...]  # the module that it begins with, then those that compensate it


@dataclass(frozen=True)
class Unmatched:
    """A module that was looked at and left as it is."""

    step: Step
    module: str
    reason: str


@dataclass(frozen=True)
class Preparation:
    """Steps that were taken, in their order, and what each of them found."""

    steps: tuple[Step, ...]
    matches: tuple[Match, ...]
    unmatched: tuple[Unmatched, ...]
    error: float  # of the outputs on the calibration data, over the largest output
