"""A network that is trained computes what the quantized one computes; gradients pass its rounding."""

from __future__ import annotations

import pytest
import torch

from codesign.formats import Assignment, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.gradients import differentiable
from codesign.quality.tuning.straight import TrainedNetwork


@pytest.mark.parametrize(
    "formats", ["int4:int8", "int4_zp:int8_zp", "mxfp4", "nvfp4", "int4_g32:int8_token", "fp8_e4m3"]
)
def test_the_forward_pass_is_that_of_the_quantized_network(tiny: CustomTask, formats: str) -> None:
    evaluator = Evaluator(tiny)
    assignment = Assignment.uniform(tiny.workload(), formats)
    wanted = evaluator.outputs(assignment)["output"]
    network = TrainedNetwork(tiny.module, evaluator.network.ranges)
    with differentiable(tiny.module), network.under(assignment) as module:
        found = tiny.run(module)["output"]
    assert torch.equal(found, wanted)
    found.sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in tiny.module.parameters() if p.ndim > 1)
    tiny.module.zero_grad()


def test_the_gradient_is_cut_where_an_activation_is_clipped(tiny: CustomTask) -> None:
    evaluator = Evaluator(tiny)
    network = TrainedNetwork(tiny.module, evaluator.network.ranges)
    site, fmt = ("head", "input"), get_format("int8")
    amax = float(evaluator.network.ranges.get(site, fmt))  # type: ignore[arg-type]  # one magnitude
    x = torch.tensor([[0.3 * amax, -0.9 * amax, 1.5 * amax, -2 * amax]], requires_grad=True)
    network.activation(x, site, fmt, (1,)).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1, 0, 0]]
