"""Quality of a quantized network: calibrate activation ranges, run under an Assignment, measure the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codesign.namespace import on_first_use

if TYPE_CHECKING:
    from codesign.quality.evaluator import Evaluator
    from codesign.quality.measure import Quality, UnmeasurableError
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
    "quantize",
    "sample_operands",
    "sensitivities",
    "try_metric",
]

__getattr__ = on_first_use(
    __name__,
    {
        "codesign.quality.evaluator": ("Evaluator",),
        "codesign.quality.measure": ("Quality", "UnmeasurableError"),
        "codesign.quality.module": ("QuantizedModule", "quantize"),
        "codesign.quality.operands": ("LayerOperands", "sample_operands"),
        "codesign.quality.sensitivity": ("sensitivities",),
        "codesign.quality.trial": ("try_metric",),
    },
)
