"""ShapesOnly against torch: the same shapes and types, and the same refusals."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.workload import trace
from codesign.workload.shapes import ShapesOnly

META = torch.device("meta")


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, device=META, dtype=dtype)


FITTING: dict[str, Callable[[], Tensor]] = {
    "linear": lambda: F.linear(meta(2, 5, 8), meta(3, 8), meta(3)),
    "strided conv": lambda: F.conv2d(meta(2, 8, 9, 7), meta(4, 4, 3, 5), None, (2, 1), (1, 2), 1, 2),
    "dilated conv": lambda: F.conv2d(meta(2, 8, 9, 9), meta(4, 8, 3, 3), dilation=2),
    "padded conv": lambda: F.conv2d(meta(2, 8, 9, 9), meta(4, 8, 3, 3), padding="same"),
    "unbatched conv": lambda: F.conv2d(meta(8, 9, 9), meta(4, 8, 3, 3)),
    "grouped attention": lambda: F.scaled_dot_product_attention(
        meta(1, 4, 3, 8), meta(1, 2, 5, 8), meta(1, 2, 5, 6), enable_gqa=True
    ),
    "attention of one batch": lambda: F.scaled_dot_product_attention(
        meta(1, 4, 3, 8), meta(2, 4, 5, 8), meta(2, 4, 5, 8)
    ),
    "embedding": lambda: F.embedding(meta(2, 3, dtype=torch.long), meta(7, 8)),
    "layer norm": lambda: F.layer_norm(meta(2, 3, 8), (8,)),
    "rms norm": lambda: F.rms_norm(meta(2, 3, 8), (3, 8)),
    "group norm": lambda: F.group_norm(meta(2, 8, 3), 4, meta(8)),
    "upsampling": lambda: F.interpolate(meta(2, 8, 3, 5), scale_factor=2.0, mode="nearest"),
    "upsampling to a size": lambda: F.interpolate(meta(2, 8, 3, 5), size=(7, 9)),
    "bilinear": lambda: F.interpolate(meta(2, 8, 3, 5), size=(7, 9), mode="bilinear"),
    "pixel shuffle": lambda: F.pixel_shuffle(meta(2, 12, 3, 5), 2),
    "mean": lambda: meta(2, 3, 4).mean((0, -1)),
    "sum": lambda: meta(2, 3, 4).sum(1, keepdim=True),
    "sum of all": lambda: meta(2, 3, 4).sum(),
    "matrix product": lambda: meta(2, 3, 4) @ meta(2, 4, 5),
    "matrix product of one batch": lambda: torch.matmul(meta(2, 3, 4), meta(4, 5)),
    "arange": lambda: torch.arange(2, 7, device=META),
    "arange in steps": lambda: torch.arange(2, 7, 2, device=META, dtype=torch.float32),
    "join": lambda: torch.cat([meta(2, 3), meta(2, 5)], dim=-1),
    "join of types": lambda: torch.cat([meta(2, 3), meta(2, 3, dtype=torch.float64)]),
    "broadcast": lambda: meta(2, 1, 4) * meta(3, 1),
    "scaled": lambda: 2 - meta(2, 3, dtype=torch.bfloat16),
    "promoted": lambda: meta(2, 3, dtype=torch.bfloat16) + meta(3),
    "integers": lambda: meta(3, dtype=torch.long) / 2,
    "integers raised": lambda: 10000.0 ** meta(3, dtype=torch.long),
    "softmax": lambda: meta(2, 3).softmax(-1),
    "softmax of a type": lambda: F.softmax(meta(2, 3), -1, dtype=torch.float64),
    "in place": lambda: F.relu(meta(2, 3), inplace=True),
}

REFUSED: dict[str, Callable[[], Tensor]] = {
    "linear": lambda: F.linear(meta(2, 5), meta(3, 8)),
    "conv": lambda: F.conv2d(meta(2, 5, 9, 9), meta(4, 8, 3, 3)),
    "conv without output": lambda: F.conv2d(meta(2, 8, 2, 2), meta(4, 8, 5, 5)),
    "attention": lambda: F.scaled_dot_product_attention(meta(1, 4, 3, 8), meta(1, 4, 5, 6), meta(1, 4, 5, 6)),
    "layer norm": lambda: F.layer_norm(meta(2, 3, 8), (4,)),
    "group norm": lambda: F.group_norm(meta(2, 8, 3), 3),
    "pixel shuffle": lambda: F.pixel_shuffle(meta(2, 6, 3, 5), 2),
    "sum": lambda: meta(2, 3).sum((0, 0)),
    "matrix product": lambda: meta(2, 3, 4) @ meta(2, 5, 4),
    "join": lambda: torch.cat([meta(2, 3), meta(3, 5)], dim=1),
    "broadcast": lambda: meta(2, 3) + meta(2, 4),
}


@pytest.mark.parametrize("name", FITTING)
def test_shape_and_type_are_those_of_torch(name: str) -> None:
    expected = FITTING[name]()
    with ShapesOnly():
        found = FITTING[name]()
    assert (found.shape, found.dtype, found.device) == (expected.shape, expected.dtype, META)


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_raises_as_in_torch(name: str) -> None:
    with pytest.raises(RuntimeError):
        REFUSED[name]()
    with ShapesOnly(), pytest.raises(RuntimeError):
        REFUSED[name]()


def test_real_tensors_are_computed() -> None:
    x = torch.tensor([-1.0, 2.0])
    with ShapesOnly():
        assert (F.relu(x) + x).tolist() == [-1.0, 4.0]


def test_a_misfit_in_a_module_is_found_by_its_trace() -> None:
    module = nn.Sequential(nn.Linear(8, 4), nn.GELU(), nn.Linear(5, 2))
    with pytest.raises(RuntimeError, match="reduction dim"):
        trace(module, meta(1, 8))


@pytest.mark.slow  # a fresh process: most of its time is the import of torch
def test_named_networks_need_none_of_the_decompositions_that_are_slow_to_import() -> None:
    code = (
        "import sys; from codesign.workload import named_workload;"
        "[named_workload(name) for name in ('sd15-pipeline', 'imdn-x4', 'edsr-x4', 'gemma-2-2b', 'olmoe-1b-7b')];"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "torch" in loaded
    assert not {"sympy", "torch._dynamo"} & set(loaded)
