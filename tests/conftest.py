"""What the tests of several packages share: a small trained network, a space to search, a PostgreSQL server."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.models.custom import CustomTask
from tests import SPACE
from tests.storage.servers import PostgreSQL, postgresql


class TinyAttention(nn.Module):
    """A convolution, one attention, a linear head: every kind of layer that can be quantized."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3, padding=1)
        self.to_q = nn.Linear(32, 32)
        self.to_k = nn.Linear(32, 32)
        self.to_v = nn.Linear(32, 32)
        self.head = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = F.silu(self.conv(x)).flatten(2).transpose(1, 2)
        q, k, v = (p(h)[:, None] for p in (self.to_q, self.to_k, self.to_v))
        h = h + F.scaled_dot_product_attention(q, k, v)[:, 0]
        return self.head(h.mean(dim=1))


def stripes(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy 8 x 8 images of stripes in one of four directions."""
    label = torch.randint(0, 4, (n,), generator=generator)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    waves = torch.stack([x, y, x + y, x - y])[label]
    phase = torch.rand(n, 1, 1, generator=generator) * 6.28
    image = torch.sin(waves * 1.2 + phase) + 0.3 * torch.randn(n, 8, 8, generator=generator)
    return image[:, None], label


def make_tiny_task() -> CustomTask:
    """A copy of the tiny network, against its own float output; the same in every process."""
    return copy.deepcopy(_trained_tiny())


@functools.cache
def _trained_tiny() -> CustomTask:
    """Trained for about a second, once a process: hundreds of tests begin with it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums of several threads may differ in their last bits, and so would what is trained
    try:
        return _train_tiny()
    finally:
        torch.set_num_threads(threads)


def _train_tiny() -> CustomTask:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    module = TinyAttention()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(120):
        image, label = stripes(64, generator)
        loss = F.cross_entropy(module(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return CustomTask("tiny", module, stripes(64, generator)[0], stripes(48, generator)[0], None)


@pytest.fixture(scope="session")
def tiny() -> CustomTask:
    return make_tiny_task()


@pytest.fixture(scope="session")
def server() -> Iterator[PostgreSQL]:
    """For all tests that need one."""
    with postgresql() as found:
        if found is None:
            pytest.skip("PostgreSQL is not installed (initdb and pg_ctl)")
        yield found


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """The smallest space as a file."""
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    return file


@pytest.fixture(autouse=True)
def _few_threads() -> Iterable[None]:
    torch.set_num_threads(min(2, torch.get_num_threads()))
    np.seterr(all="warn")
    return
