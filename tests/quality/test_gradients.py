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
    return Evaluator(CustomTask("some", Network(middle).eval(), samples(), samples(), None), ranges="mse")


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


def alone(found: Evaluator, layer: str, pair: FormatPair) -> float:
    """The measured loss with one layer in a pair and the others in float."""
    exact = dict.fromkeys(found.layers, FormatPair.parse("fp32"))
    return found(Assignment.of_pairs(exact | {layer: pair}, found.layers)).value


CUT: dict[str, tuple[Run, set[str]]] = {
    "detach": (lambda module, x: module(x.detach()), {"a"}),
    "rounding": (lambda module, x: (4 * module(x)).round() / 4, {"a", "b.0"}),
    "rounding and detach": (lambda module, x: (4 * module(x)).round().detach() / 4, {"a", "b.0"}),
    "classes": (lambda module, x: nn.functional.one_hot(module(x).argmax(1), 8).float(), {"a", "b.0"}),
}


@pytest.mark.parametrize("case", CUT)
def test_the_losses_of_a_layer_whose_gradient_is_cut_off_are_measured(case: str) -> None:
    middle, cut = CUT[case]
    found, steps = evaluator(middle), []
    losses = sensitivities(found, PAIRS, probes=32, step=lambda *step: steps.append(step))
    layers = list(found.layers)
    measured = [layer for _, _, layer in steps]
    assert cut <= set(measured) <= cut | {"unread"}
    assert [step[:2] for step in steps] == [(i, len(steps)) for i in range(len(steps))]
    for layer in cut:
        for pair, loss in zip(PAIRS, losses[layers.index(layer)], strict=True):
            assert loss == pytest.approx(found.task.raw(alone(found, layer, pair)), rel=0.5)
    assert losses[layers.index("c")].all()
    assert not losses[layers.index("unread")].any()


def test_a_measured_loss_is_on_the_scale_of_an_estimated_one() -> None:
    estimated, measured = table(plain), table(lambda module, x: module(x.detach()))
    np.testing.assert_allclose(np.log2(measured[0] / estimated[0]), 0, atol=1.5)
    np.testing.assert_allclose(measured[1:], estimated[1:], rtol=1e-5)


def test_only_layers_without_a_gradient_are_measured() -> None:
    steps: list[object] = []
    sensitivities(evaluator(plain), PAIRS, step=lambda *step: steps.append(step))
    assert steps == []


def test_inference_mode_inside_the_network_is_refused_with_the_layer() -> None:
    with pytest.raises(InputError, match=r"^layer 'c' reads what the network's forward made in torch.inference"):
        table(inference)


def test_a_network_that_returns_classes_is_measured_throughout() -> None:
    class Classes(Network):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).argmax(1)

    module = Classes(lambda module, y: module(y)).eval()

    def wrong(outputs: Tensor, reference: Tensor) -> Tensor:
        return (outputs != reference).float()

    task = CustomTask("some", module, samples(), samples(), wrong)
    losses = sensitivities(Evaluator(task), [FormatPair.parse("int2")])
    assert (losses[:3] > 0).all()
    assert losses[3] == 0
