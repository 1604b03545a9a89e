"""What was measured of one network, each assignment once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from codesign.quality import Quality
from codesign.search.engine.points import Pool


@dataclass
class Measured:
    """Assignments of one network that were measured: choices of pairs int [L], the deciding Quality of each.

    known: value by content of a choice; given_up: those that were hopeless on a part of the samples.
    """

    choices: list[np.ndarray] = field(default_factory=list)
    qualities: list[Quality] = field(default_factory=list)
    known: dict[bytes, float] = field(default_factory=dict)
    given_up: list[tuple[np.ndarray, Quality]] = field(default_factory=list)

    def add(self, choice: np.ndarray, quality: Quality) -> None:
        """Count an assignment, unless it is known already."""
        if quality.of_part:
            self.given_up.append((choice, quality))
        elif choice.tobytes() not in self.known:
            self.choices.append(choice)
            self.qualities.append(quality)
            self.known[choice.tobytes()] = quality.value

    def pool(self) -> Pool:
        """The choices [n, L] with their qualities [n]."""
        return Pool(np.array(self.choices), np.array([q.value for q in self.qualities]))
