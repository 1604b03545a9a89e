"""A trace sees every product, or says which it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm
from torch.utils.flop_counter import FlopCounterMode

from codesign.errors import InputError
from codesign.workload import trace

LINEAR = 16 * 8  # MACs of one row


class With(nn.Module):
    """One weight, however it is multiplied, and a linear layer behind it."""

    def __init__(self, multiply: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 16, dtype=dtype))
        self.multiply = multiply
        self.head = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.multiply(x, self.weight))


@torch.library.custom_op("codesign_tests::product", mutates_args=())
def product(x: Tensor, weight: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy() @ weight.numpy().T)


def _complex(x: Tensor, weight: Tensor) -> Tensor:
    return (x.to(torch.cfloat) @ weight.t()).real


def _complex_einsum(x: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum("bi,oi->bo", x.to(torch.cfloat), weight).real


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (With(lambda x, w: torch.ops.aten.mm(x, w.t())), r"512 of 768 MACs .* in module '0'"),
        (With(lambda x, w: product(x.detach(), w.detach())), r"128 of 192 weights .* '0.weight' first"),
        (With(_complex, torch.cfloat), "unsupported matrix product matmul of complex numbers"),
        (With(_complex_einsum, torch.cfloat), r"512 of 768 MACs"),
        (With(lambda x, w: torch.linalg.vecdot(x[:, None], w[None])), "unsupported matrix product"),
    ],
    ids=["aten", "custom op", "complex", "complex einsum", "vecdot"],
)
def test_what_is_not_understood_is_refused_with_its_module(module: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trace(nn.Sequential(module), torch.randn(4, 16))


def test_weights_that_nothing_reads_are_listed_and_above_a_share_refused() -> None:
    class Branch(nn.Module):
        def __init__(self, unused: int) -> None:
            super().__init__()
            self.used, self.unused, self.table = nn.Linear(16, 8), nn.Linear(16, unused), nn.Embedding(100, 16)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x) if len(x) else self.unused(self.table(x))

    small = Branch(unused=4)
    small.table = nn.Identity()
    small.used = nn.Linear(16, 80)
    assert trace(small, torch.randn(4, 16)).unread == (("unused.weight", 64),)
    with pytest.raises(InputError, match=r"1,600 of 1,792 weights|1,664 of 1,792 weights"):
        trace(Branch(unused=4), torch.randn(4, 16))
    assert dict(trace(Branch(unused=4), torch.randn(4, 16), unseen="warn").unread) == {
        "unused.weight": 64,
        "table.weight": 1600,
    }


def test_a_table_that_is_looked_up_is_read() -> None:
    network = nn.Sequential(nn.Embedding(1000, 16), nn.Linear(16, 8))
    assert trace(network, torch.zeros(1, 3, dtype=torch.int64)).unread == ()


class Lora(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 16))
        self.down, self.up = nn.Parameter(torch.randn(2, 16)), nn.Parameter(torch.randn(8, 2))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + self.up @ self.down)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(16, 8),
        parametrizations.orthogonal(nn.Linear(16, 8)),
        parametrizations.spectral_norm(nn.Linear(16, 8)),
        parametrizations.weight_norm(nn.Linear(16, 8)),
        spectral_norm(nn.Linear(16, 8)),
        Lora(),
    ],
    ids=["plain", "orthogonal", "spectral", "weight norm", "old spectral", "lora"],
)
def test_arithmetic_of_weights_is_no_work(layer: nn.Module) -> None:
    workload = trace(nn.Sequential(layer), torch.randn(4, 16))
    assert workload.macs() == 4 * LINEAR
    assert len(workload.layers) == 1
    assert workload.unread == ()


def test_experts_behind_one_grouped_product_are_a_layer_of_their_own() -> None:
    class Bank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.randn(4, 16, 32))
            self.head = nn.Linear(32, 8)

        def forward(self, x: Tensor) -> Tensor:
            ends = torch.tensor([1, 2, 3, 4], dtype=torch.int32)
            return self.head(F.grouped_mm(x, self.up, offs=ends))

    workload = trace(nn.Sequential(Bank()), torch.randn(4, 16))
    assert workload.layer_kinds() == {"0.up": "linear", "0.head": "linear"}
    assert [op.macs for op in workload.operators] == [4 * 16 * 32, 4 * 32 * 8]
    assert workload.operators[0].weight_elements == 4 * 16 * 32


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.ConvTranspose2d(16, 8, 4, 2, 1, groups=4), (1, 16, 5, 5)),
        (nn.Conv2d(16, 16, 3, groups=16), (1, 16, 5, 5)),
        (nn.Conv1d(16, 8, 3, dilation=2), (2, 16, 9)),
        (nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), (1, 5, 16)),
    ],
    ids=["transposed", "depthwise", "dilated", "encoder"],
)
def test_macs_are_torchs_own(module: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        module(x)  # in training mode: the encoder's fused path counts as nothing
    assert trace(module, x).macs() == counted.get_total_flops() // 2
