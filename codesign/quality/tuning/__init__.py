"""Tuning: the weights of a network are trained for minutes under the formats of an Assignment, with the float network
as the teacher (quantization-aware training by self-distillation)."""

from codesign.quality.tuning.tune import Options, Tuned, tune

__all__ = ["Options", "Tuned", "tune"]
