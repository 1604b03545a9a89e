"""Changes of a float network that keep what it computes, and make it easier to quantize."""

from codesign.models.preparation.task import prepared
from codesign.models.preparation.types import STEPS, Match, Preparation, Step, Unmatched
from codesign.models.preparation.usual import NONE, USUAL, USUAL_STEPS, prepared_by, steps_of

__all__ = [
    "NONE",
    "STEPS",
    "USUAL",
    "USUAL_STEPS",
    "Match",
    "Preparation",
    "Step",
    "Unmatched",
    "prepared",
    "prepared_by",
    "steps_of",
]
