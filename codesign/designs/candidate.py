"""`Candidate`: the unit of evaluation of a search, and the key that identifies it in every file and database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codesign.formats import Assignment


@dataclass(frozen=True)
class Candidate:
    """An accelerator together with an assignment of formats for every network."""

    accelerator: int  # index into the space's grid
    assignments: Mapping[str, Assignment]  # by network, in the space's order

    @property
    def key(self) -> str:
        """``accelerator|network=digest|...``; depends on the content alone, so that all machines agree on it."""
        digests = (f"{name}={assignment.digest()}" for name, assignment in self.assignments.items())
        return "|".join([str(self.accelerator), *digests])

    @staticmethod
    def digests(key: str) -> dict[str, str]:
        """Parse a candidate's key: network -> digest of its assignment."""
        return {name: digest for name, _, digest in (item.partition("=") for item in key.split("|")[1:])}
