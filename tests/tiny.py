"""The tiny network of conftest.py as a task that a search space can name."""

from __future__ import annotations

from typing import Any

import torch

from codesign import Loss
from tests.conftest import TinyAttention, make_tiny_task, stripes


def task() -> tuple[Any, Any, Any, None]:
    made = make_tiny_task()
    return made.module, made._calibration, made._evaluation, None


def broken() -> tuple[Any, Any, Any, None]:
    """The same with NaN in a weight."""
    module, calibration, evaluation, metric = task()
    module.head.weight.data[0, 0] = float("nan")
    return module, calibration, evaluation, metric


def untrained() -> tuple[Any, Any, Any, None]:
    """The same network as it begins, for its workload: nothing is trained."""
    image, _ = stripes(4, torch.Generator().manual_seed(0))
    return TinyAttention(), image, image, None


def _mse(outputs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    return (outputs - reference).square().flatten(1).mean(dim=1)


def in_log10() -> tuple[Any, Any, Any, Loss]:
    """Scored by the log10 of the squared error, which is negative, and says so."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, Loss(lambda y, r: _mse(y, r).log10(), "log10", "log10 MSE", "log_error")


def in_decibels() -> tuple[Any, Any, Any, Loss]:
    """Scored by a negated PSNR, and says so."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, Loss(lambda y, r: 10 * _mse(y, r).log10(), "db", "dB", "negated_psnr")


def undeclared() -> tuple[Any, Any, Any, Any]:
    """A log10 that is cut off, negative throughout, and does not say so."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, lambda y, r: _mse(y, r).clamp_min(1e-12).log10()


def psnr() -> tuple[Any, Any, Any, Any]:
    """A PSNR returned as if it were a loss, cut off where the float network would have an infinite one."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, lambda y, r: -10 * _mse(y, r).clamp_min(1e-12).log10()


def infinite() -> tuple[Any, Any, Any, Any]:
    """A log10 that is not cut off: minus infinity for the float network."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, lambda y, r: _mse(y, r).log10()


def constant() -> tuple[Any, Any, Any, Any]:
    """A metric that looks at nothing."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, lambda y, r: torch.ones(len(y))


class Normed(torch.nn.Module):
    """Convolutions with batch normalisations behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.BatchNorm2d(32)
        self.conv2, self.norm2 = torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.BatchNorm2d(32)
        self.head = torch.nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu())).relu()
        return self.head(h.mean(dim=(2, 3)))


def normed() -> tuple[Any, Any, Any, None]:
    """A network with two batch normalisations, trained for a moment."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    module = Normed()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(20):
        image, label = stripes(32, generator)
        loss = torch.nn.functional.cross_entropy(module(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return module, stripes(32, generator)[0], stripes(16, generator)[0], None


class Detached(TinyAttention):
    """No gradient reaches its first convolution."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.nn.functional.silu(self.conv(x)).detach().flatten(2).transpose(1, 2)
        q, k, v = (p(h)[:, None] for p in (self.to_q, self.to_k, self.to_v))
        h = h + torch.nn.functional.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.head(h.mean(dim=1))


def detached() -> tuple[Any, Any, Any, None]:
    """The same weights and data, with a gradient that is cut."""
    module, calibration, evaluation, metric = task()
    made = Detached()
    made.load_state_dict(module.state_dict())
    return made, calibration, evaluation, metric


def one_layer() -> tuple[Any, Any, Any, None]:
    """A network of a single layer."""
    x = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    return torch.nn.Linear(32, 4), x, x, None


def wrong_scale() -> tuple[Any, Any, Any, Loss]:
    """A squared error of large numbers that is declared to be a log10."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, Loss(lambda y, r: 1e6 * _mse(y, r), "log10")


def positive_psnr() -> tuple[Any, Any, Any, Loss]:
    """A PSNR that is declared to be decibels of a loss, without its sign."""
    module, calibration, evaluation, _ = task()
    return module, calibration, evaluation, Loss(lambda y, r: -10 * _mse(y, r).log10(), "db")


def labelled(offset: int = 0) -> tuple[Any, Any, Any, Any]:
    """Scored by the cross-entropy of labels, which the float network does not have at zero."""
    generator = torch.Generator().manual_seed(3)
    image, label = stripes(64, generator)
    module, calibration, _, _ = task()
    labels = (label + offset) % 4

    def cross_entropy(outputs: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs, labels, reduction="none")

    return module, calibration, image, cross_entropy


def mislabelled() -> tuple[Any, Any, Any, Any]:
    """The same inputs with other labels."""
    return labelled(1)
