"""A network that runs under an Assignment, as a module of torch's."""

from __future__ import annotations

from typing import Any

from torch import nn

from codesign.formats import Assignment
from codesign.models.custom import CustomTask
from codesign.quality.evaluator import Evaluator
from codesign.quality.ranges import RangeRule


class QuantizedModule(nn.Module):
    """`module` with weights and activations fake-quantized in every call; its parameters are the module's own."""

    def __init__(self, module: nn.Module, assignment: Assignment, evaluator: Evaluator) -> None:
        super().__init__()
        self.module = module
        self.assignment = assignment
        self._network = evaluator.network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with self._network.under(self.assignment) as module:
            return module(*args, **kwargs)


def quantize(module: nn.Module, assignment: Assignment, inputs: Any, *, ranges: RangeRule = "mse") -> QuantizedModule:
    """`module` as it runs under `assignment`: what a study scores, to be called with any data.

    inputs: of a calibration call, a tensor, a tuple of arguments or a dict of keywords, batch first: activations in
    plain formats are clipped to ranges that `ranges` fits to them. The module is put in eval mode, nothing else.

    Raises InputError where the assignment does not name exactly the layers of the module.
    """
    evaluator = Evaluator(CustomTask("module", module, inputs, inputs, None), ranges=ranges)
    evaluator.check(assignment)
    return QuantizedModule(module, assignment, evaluator)
