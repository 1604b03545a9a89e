"""A candidate: what is measured together, under a name that is kept and never guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign.formats import Assignment


@dataclass(frozen=True)
class Candidate:
    """An assignment of every network on one accelerator.

    accelerator: index in the grid of the space. assignments: by network, in the space's order.
    """

    accelerator: int
    assignments: Mapping[str, Assignment]

    @property
    def key(self) -> str:
        """``accelerator|network=digest|...``: the same for the same formats on the same chip, on every machine."""
        digests = (f"{name}={assignment.digest()}" for name, assignment in self.assignments.items())
        return "|".join([str(self.accelerator), *digests])

    @staticmethod
    def digests(key: str) -> dict[str, str]:
        """Network -> digest of its assignment, of a candidate's key."""
        return {name: digest for name, _, digest in (item.partition("=") for item in key.split("|")[1:])}
