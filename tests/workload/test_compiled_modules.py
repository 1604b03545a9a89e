"""Modules whose products hide: programs of torch.export are read, the rest is refused with the module's name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import flex_attention

from codesign.errors import InputError
from codesign.formats import Assignment
from codesign.models.custom import CustomTask
from codesign.models.task import LEAST_RAW
from codesign.quality import Evaluator
from codesign.workload import trace

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # torch's, of its own


class Around(nn.Module):
    """A linear layer, and another module after it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(self.first(x))
        return found


class Several(nn.Module):
    """One of each product that programs hold: convolution, attention, einsum, matmul, addmm, an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.q, self.k, self.v = (nn.Linear(8, 8, bias=False) for _ in range(3))
        self.mix = nn.Parameter(torch.randn(8, 6))
        self.out = nn.Parameter(torch.randn(6, 5))
        self.bias = nn.Parameter(torch.randn(5))
        self.last = nn.Parameter(torch.randn(5, 4))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.conv(self.table(x).transpose(1, 2))).transpose(1, 2)
        q, k, v = (layer(y).unflatten(-1, (2, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
        y = torch.einsum("bld,de->ble", y, self.mix).mean(1)
        return torch.addmm(self.bias, y, self.out) @ self.last


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)).eval()


def exported(module: nn.Module, x: Tensor) -> nn.Module:
    return torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("samples")},)).module()


def samples() -> Tensor:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "made",
    [
        torch.jit.script,
        lambda module: torch.jit.trace(module, samples()),
        lambda module: torch.jit.freeze(torch.jit.script(module)),
    ],
)
def test_a_module_of_torchscript_is_refused_with_its_name(made: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(InputError, match=r"network 'some': module 'inner' is of TorchScript .* made from$"):
        trace(Around(made(network())), samples(), name="some")
    with pytest.raises(InputError, match=r"network 'some': it is of TorchScript"):
        trace(made(network()), samples(), name="some")


def test_a_program_of_export_has_the_products_of_its_module() -> None:
    plain, x = network(), samples()
    program = Around(exported(plain, x))
    products = {op.layer: (op.kind, op.macs) for op in trace(program, x).operators}
    assert products == {"first": ("linear", 384), "inner.0": ("linear", 768), "inner.2": ("linear", 384)}


def test_every_kind_of_product_is_found_in_a_program_of_export() -> None:
    torch.manual_seed(0)
    plain, x = Several().eval(), torch.randint(0, 10, (3, 7))
    program = exported(plain, x)
    found = trace(program, x)
    wanted = trace(plain, x)
    assert [(op.layer, op.kind, op.macs) for op in found.operators] == [
        (op.layer, op.kind, op.macs) for op in wanted.operators
    ]
    assert found.unread == ()


def test_a_program_of_export_is_quantized_as_its_module_is() -> None:
    torch.manual_seed(0)
    plain, x = Several().eval(), torch.randint(0, 10, (6, 7))
    results = []
    for module in (plain, exported(plain, x)):
        task = CustomTask("some", module, x, x, None)
        evaluator = Evaluator(task)
        with torch.inference_mode():
            reference = task.run(module)["output"]
        exact, coarse = (evaluator.outputs(uniform(evaluator, name))["output"] for name in ("fp32", "int4"))
        assert torch.allclose(exact, reference, atol=1e-5)
        assert not torch.allclose(coarse, reference, atol=1e-3)
        results.append(coarse)
    assert torch.equal(*results)


def uniform(evaluator: Evaluator, name: str) -> Assignment:
    return Assignment.uniform(evaluator.task.workload(), name)


class Flex(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        heads = x.view(len(x), 1, 2, 4)
        found: Tensor = flex_attention(heads, heads, heads)  # type: ignore[assignment]
        return found.flatten(1)


def test_flex_attention_is_refused_with_the_module() -> None:
    with pytest.raises(
        InputError, match=r"^module 'inner': unsupported matrix product flex_attention .*: write it with"
    ):
        trace(Around(Flex()), samples())


class Sparse(nn.Module):
    def __init__(self, product: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.register_buffer("adjacency", (torch.arange(64).reshape(8, 8) % 5 == 0).float())
        self.product = product

    def forward(self, x: Tensor) -> Tensor:
        return self.product(self.adjacency.to_sparse(), x.T).T


@pytest.mark.parametrize(
    "product",
    [
        torch.sparse.mm,
        torch.mm,
        torch.matmul,
        lambda a, b: a @ b,
        lambda a, b: torch.sparse.addmm(b, a, b),
        lambda a, b: torch.smm(a, b).to_dense(),
        lambda a, b: a.to_dense().to_sparse_csr() @ b,
        lambda a, b: F.linear(b.T, a).T,
    ],
)
def test_a_product_of_a_sparse_tensor_is_refused_with_the_module(product: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(InputError, match=r"^module 'inner': unsupported matrix product \w+ of a sparse tensor"):
        trace(Around(Sparse(product)), samples())


def test_a_sparse_tensor_that_is_made_dense_is_no_product() -> None:
    found = trace(Around(Sparse(lambda a, b: a.to_dense() * b[:, :1])), samples())
    assert list(found.layers) == ["first"]


class Gated(nn.Module):
    """Rows that are not there in this data, and columns that never are."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.more = nn.Linear(8, 40), nn.Linear(8, 2)

    def forward(self, x: Tensor, extra: Tensor) -> Tensor:
        return self.main(x) + self.more(extra).sum(1).repeat(1, 20)


def test_a_product_of_no_rows_is_no_work_and_no_layer() -> None:
    torch.manual_seed(0)
    x, none = samples(), torch.randn(6, 0, 8)
    task = CustomTask("some", Gated().eval(), (x, none), (x, none), None)
    evaluator = Evaluator(task)
    assert {op.layer: op.macs for op in task.workload().operators} == {"main": 320}
    with torch.inference_mode():
        assert torch.equal(evaluator.outputs(uniform(evaluator, "fp32"))["output"], task.run(task.module)["output"])
    assert task.raw(evaluator(uniform(evaluator, "int8")).value) > LEAST_RAW


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x.to(self.layer.weight.dtype) / 16)
        return found


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.int16, torch.bool, torch.bfloat16, torch.float16])
def test_inputs_of_other_types_are_taken_as_they_are(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = (samples().abs() * 20).to(dtype)
    module = Scaled().eval()
    if dtype.is_floating_point:
        module = module.to(dtype)
    task = CustomTask("some", module, x, x, None)
    evaluator = Evaluator(task)
    assert {op.layer: op.macs for op in task.workload().operators} == {"layer": 32}
    with torch.inference_mode():
        assert torch.equal(evaluator.outputs(uniform(evaluator, "fp32"))["output"], task.run(module)["output"])
    assert task.raw(evaluator(uniform(evaluator, "int4")).value) > LEAST_RAW
