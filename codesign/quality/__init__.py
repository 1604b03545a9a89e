"""Quality of a quantized network: calibrate activation ranges, run under an Assignment, measure the loss."""

from codesign.quality.evaluator import Evaluator
from codesign.quality.measure import Quality, UnmeasurableError, measure
from codesign.quality.module import QuantizedModule, quantize
from codesign.quality.operands import LayerOperands, sample_operands
from codesign.quality.sensitivity import sensitivities
from codesign.quality.trial import try_metric

__all__ = [
    "Evaluator",
    "LayerOperands",
    "Quality",
    "QuantizedModule",
    "UnmeasurableError",
    "measure",
    "quantize",
    "sample_operands",
    "sensitivities",
    "try_metric",
]
