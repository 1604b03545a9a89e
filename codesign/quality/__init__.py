"""What quantization loses: apply an Assignment to a network, calibrate, measure."""

from codesign.quality.evaluator import Evaluator
from codesign.quality.measure import Quality, UnmeasurableError, measure
from codesign.quality.sensitivity import sensitivities

__all__ = ["Evaluator", "Quality", "UnmeasurableError", "measure", "sensitivities"]
