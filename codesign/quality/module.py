"""A network that runs under an Assignment, as a `torch.nn.Module`."""

from __future__ import annotations

from typing import Any

from torch import nn

from codesign.formats import Assignment
from codesign.models.custom import CustomTask
from codesign.quality.evaluator import Evaluator
from codesign.terms import DEFAULT_RULE, RangeRule


class QuantizedModule(nn.Module):
    """`module` with weights and activations fake-quantized in every call; it shares the module's parameters."""

    def __init__(self, module: nn.Module, assignment: Assignment, evaluator: Evaluator) -> None:
        super().__init__()
        self.module = module
        self.assignment = assignment
        self._network = evaluator.network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with self._network.under(self.assignment) as module:
            return module(*args, **kwargs)


def quantize(
    module: nn.Module, assignment: Assignment, inputs: Any, *, ranges: RangeRule = DEFAULT_RULE
) -> QuantizedModule:
    """`module` under `assignment`, quantized as in a study, to be called with any data.

    inputs: the calibration data: a tensor, a tuple of arguments or a dict of keyword arguments, batch first. Ranges of
    activations in formats without blocks are fitted to them by the rule `ranges`. The module is put in eval mode and
    otherwise unchanged.

    Raises InputError unless the assignment covers exactly the layers of the module.
    """
    evaluator = Evaluator(CustomTask("module", module, inputs, inputs, None), ranges=ranges)
    evaluator.check(assignment)
    return QuantizedModule(module, assignment, evaluator)
