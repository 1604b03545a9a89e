"""Sensitivities of networks that turn gradients off, or compute parts of themselves again to save memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.sensitivity import sensitivities

Run = Callable[[nn.Module, Tensor], Tensor]
PAIRS = [FormatPair.parse("int4"), FormatPair.parse("int8")]


class Network(nn.Module):
    """Three layers, the middle one run by `middle`."""

    def __init__(self, middle: Run) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 4)
        self.unread = nn.Linear(8, 4)
        self.middle = middle

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self.b, torch.relu(self.a(x)))
        found: Tensor = self.c(y)
        self.unread(y)  # as an auxiliary head, whose result is dropped
        return found


def samples() -> Tensor:
    return torch.randn(16, 8, generator=torch.Generator().manual_seed(1))


def evaluator(middle: Run) -> Evaluator:
    return Evaluator(CustomTask("some", Network(middle).eval(), samples(), samples(), None))


def table(middle: Run) -> np.ndarray:
    return sensitivities(evaluator(middle), PAIRS)


def no_grad(module: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = module(x)
        return found


def grad_off(module: nn.Module, x: Tensor) -> Tensor:
    with torch.set_grad_enabled(False):
        found: Tensor = module(x)
    return found


def inference(module: nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = module(x)
    return found


def plain(module: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = module(x)
    return found


def twice(module: nn.Module, x: Tensor) -> Tensor:
    return plain(module, torch.relu(plain(module, x)))


@pytest.mark.parametrize(
    ("middle", "wanted"),
    [
        (no_grad, plain),
        (grad_off, plain),
        (torch.no_grad()(plain), plain),
        (lambda module, x: checkpoint(module, x, use_reentrant=False), plain),
        (lambda module, x: checkpoint(module, x, use_reentrant=True), plain),
        (lambda module, x: checkpoint(twice, module, x, use_reentrant=False), twice),
    ],
)
def test_what_a_network_does_for_memory_changes_no_sensitivity(middle: Run, wanted: Run) -> None:
    found = table(middle)
    assert (found[:3] > 0).all()
    assert (found[3] == 0).all()
    np.testing.assert_allclose(found, table(wanted), rtol=1e-5)


@pytest.mark.parametrize(
    "middle",
    [
        no_grad,
        inference,
        lambda module, x: checkpoint(module, x, use_reentrant=False),
        lambda module, x: checkpoint(module, x, use_reentrant=True),
    ],
)
def test_such_a_network_is_traced_and_quantized_as_any_other(middle: Run) -> None:
    found, wanted = evaluator(middle), evaluator(plain)
    workload = found.task.workload()
    assert {op.layer: op.macs for op in workload.operators} == {"a": 64, "b.0": 64, "c": 32, "unread": 32}
    with torch.inference_mode():
        reference = found.task.run(found.task.module)["output"]
    exact, coarse = (Assignment.uniform(workload, name) for name in ("fp32", "int4"))
    assert torch.equal(torch.as_tensor(found.outputs(exact)["output"]), torch.as_tensor(reference))
    assert found(coarse).value == wanted(coarse).value > -12


def test_gradients_are_as_the_caller_has_them_afterwards() -> None:
    table(no_grad)
    assert torch.is_grad_enabled()
    with torch.no_grad():
        table(no_grad)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("middle", [lambda module, x: module(x.detach()), lambda module, x: module(x).round().detach()])
def test_a_layer_whose_gradient_is_cut_off_is_refused(middle: Run) -> None:
    with pytest.raises(InputError, match=r"^some: layer 'a' changes the outputs, but no gradient of them reaches it"):
        table(middle)


def test_inference_mode_inside_the_network_is_refused_with_the_layer() -> None:
    with pytest.raises(InputError, match=r"^layer 'c' reads what the network's forward made in torch.inference"):
        table(inference)


def test_a_network_that_returns_classes_is_refused() -> None:
    class Classes(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).argmax(1)

    module = Classes(lambda module, y: module(y)).eval()

    def wrong(outputs: Tensor, reference: Tensor) -> Tensor:
        return (outputs != reference).float()

    task = CustomTask("some", module, samples(), samples(), wrong)
    with pytest.raises(InputError, match=r"^some: layer 'a' changes the outputs, but no gradient of them reaches it"):
        sensitivities(Evaluator(task), [FormatPair.parse("int2")])
