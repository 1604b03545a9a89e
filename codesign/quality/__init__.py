"""What quantization loses: apply an Assignment to a network, calibrate, measure."""

from codesign.quality.evaluator import Evaluator
from codesign.quality.measure import Quality, UnmeasurableError, measure
from codesign.quality.module import QuantizedModule, quantize
from codesign.quality.operands import Operands, sample_operands
from codesign.quality.sensitivity import sensitivities
from codesign.quality.trial import try_metric

__all__ = [
    "Evaluator",
    "Operands",
    "Quality",
    "QuantizedModule",
    "UnmeasurableError",
    "measure",
    "quantize",
    "sample_operands",
    "sensitivities",
    "try_metric",
]
