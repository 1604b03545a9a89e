"""Changes of a float network that keep what it computes, and make it easier to quantize."""

from codesign.models.preparation.task import prepared
from codesign.models.preparation.types import STEPS, Match, Preparation, Step, Unmatched

__all__ = ["STEPS", "Match", "Preparation", "Step", "Unmatched", "prepared"]
