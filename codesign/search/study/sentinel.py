"""`Sentinel`: a known assignment that was measured again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_DIGITS = 1e-9  # relative difference that rounding in a file may make

Moved = Literal["no", "within noise", "worse", "better"]


@dataclass(frozen=True)
class Sentinel:
    """A measured assignment of a network, with its quality when it was chosen and now."""

    task: str
    rank: str  # best, middle or worst quality when the sentinels were chosen
    before: float
    low: float  # with `high` the 95 % interval of `before`
    high: float
    now: float

    @property
    def moved(self) -> Moved:
        """Whether the quality moved out of its earlier interval, and in which direction."""
        if abs(self.now - self.before) <= _DIGITS * max(abs(self.before), abs(self.now)):
            return "no"
        if self.low <= self.now <= self.high:
            return "within noise"
        return "worse" if self.now > self.before else "better"
