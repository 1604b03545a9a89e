"""Probes: a random scalar whose gradient's second moment along a change is the loss of that change."""

from __future__ import annotations

import pytest
import torch

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.models.losses import Loss
from codesign.models.probes import kl_of_logits, rademacher
from codesign.models.user_task import as_task
from codesign.quality import Evaluator
from codesign.quality.sensitivity import sensitivities


def test_a_rademacher_probe_estimates_a_squared_error() -> None:
    generator = torch.Generator().manual_seed(0)
    y, delta = torch.randn(16, 8, requires_grad=True), 0.1 * torch.randn(16, 8)
    found = [float((torch.autograd.grad(rademacher(y, generator), y)[0] * delta).sum()) ** 2 for _ in range(4000)]
    assert sum(found) / len(found) == pytest.approx(float(delta.square().mean()), rel=0.1)


def test_the_probe_of_logits_estimates_their_kl_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    logits = (2 * torch.randn(4, 5, 10)).requires_grad_()
    delta = 0.05 * torch.randn(4, 5, 10)
    before, after = logits.log_softmax(-1), (logits + delta).log_softmax(-1)
    divergence = float((before.exp() * (before - after)).sum(-1).mean().detach())
    found = [
        float((torch.autograd.grad(kl_of_logits(logits, generator), logits)[0] * delta).sum()) ** 2 for _ in range(4000)
    ]
    assert sum(found) / len(found) == pytest.approx(divergence, rel=0.15)


def test_a_task_brings_its_own_probe() -> None:
    module, x = torch.nn.Linear(8, 4), torch.randn(32, 8)
    asked = []

    def probe(outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        asked.append(outputs.shape)
        return outputs.sum()

    loss = Loss(lambda y, r: (y - r).square().mean(1), probe=probe)
    found = Evaluator(as_task("python:tests:made", "made", (module, x, x, loss)))
    sensitivities(found, [FormatPair("int8", "int8")], probes=2)
    assert asked == [(32, 4)] * 2
    with pytest.raises(InputError, match="unknown probe 'kld' of a loss; did you mean 'kl'"):
        Loss(lambda y, r: y, probe="kld")  # type: ignore[arg-type]  # the mistake is tested
