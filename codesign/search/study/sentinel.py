"""A known assignment that was measured again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_DIGITS = 1e-9  # relative difference that rounding in a file may make

Moved = Literal["no", "within noise", "worse", "better"]


@dataclass(frozen=True)
class Sentinel:
    """One measured assignment of a network, as the study knew it and as it came out now."""

    task: str
    rank: str  # of its quality among those measured when the sentinels were chosen
    before: float
    low: float
    high: float
    now: float

    @property
    def moved(self) -> Moved:
        """By the interval that was measured before."""
        if abs(self.now - self.before) <= _DIGITS * max(abs(self.before), abs(self.now)):
            return "no"
        if self.low <= self.now <= self.high:
            return "within noise"
        return "worse" if self.now > self.before else "better"
