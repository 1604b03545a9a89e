"""An evaluation on the compiled kernels, in memory used again and again, has the bits of one on torch's operations."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.formats import Assignment, compiled, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.rounding.gptq import rounded


class Mixed(nn.Module):
    """Convolutions in the memory order of images, attention, layers that read one tensor, and writes in place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.again = nn.Conv2d(16, 16, 3, padding=1)
        self.q, self.k, self.v, self.out = (nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x.to(memory_format=torch.channels_last)), inplace=True)
        x = x + self.again(x)
        x = x.flatten(2).transpose(1, 2)
        q, k, v = (p(x).unflatten(-1, (2, 8)).transpose(1, 2) for p in (self.q, self.k, self.v))
        x = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        found: Tensor = self.out(x.transpose(1, 2).flatten(2).mul_(2))
        return found


def outputs(formats: str) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    calibration, evaluation = (torch.randn(20, 3, 6, 6, generator=generator) for _ in range(2))
    task = CustomTask("mixed", Mixed(), calibration, evaluation)
    evaluator = Evaluator(task, ranges="mse")
    found = [evaluator.outputs(Assignment.uniform(task.workload(), formats))["output"] for _ in range(2)]
    assert torch.equal(*found)
    return found[0]


FORMATS = ("int8", "int4_zp:int8_zp", "fp8_e4m3", "int4:int8_token", "mxfp4", "mxfp8_e4m3_even", "nvfp4", "bf16")


@pytest.mark.parametrize("formats", [*FORMATS, "int4_g32+gptq"])
def test_both_kernels_give_the_same_outputs(formats: str) -> None:
    found = outputs(formats)
    with compiled.switched_off():
        assert torch.equal(found, outputs(formats))


@pytest.mark.parametrize("name", ["int4", "int4_zp", "int4_g32", "int4_g32_zp", "fp4_e2m1", "mxfp4", "nvfp4"])
@pytest.mark.parametrize("groups", [1, 2])
def test_both_kernels_choose_the_same_weights(name: str, groups: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(groups, 12, 4, 40, generator=generator)
    inputs = torch.randn(groups, 640, 160, generator=generator)
    moments = inputs.transpose(1, 2) @ inputs / 640
    found = rounded(weight, get_format(name), moments, "gptq")
    with compiled.switched_off():
        expected = rounded(weight, get_format(name), moments, "gptq")
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.dequantize(), expected.dequantize())


class EitherWay(nn.Module):
    """Attention by torch's function, and written as two products: keys lie along another dimension."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = Inner()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.inner(x, False) + self.inner(x, True)
        return found


class Inner(nn.Module):
    def forward(self, x: Tensor, fused: bool) -> Tensor:
        if fused:
            return F.scaled_dot_product_attention(x, x, x)
        return (x @ x.transpose(-1, -2) * x.shape[-1] ** -0.5).softmax(-1) @ x


def test_products_of_one_layer_keep_their_own_dimensions() -> None:
    x = torch.randn(8, 2, 48, 64, generator=torch.Generator().manual_seed(1))
    task = CustomTask("either", EitherWay(), x, x)
    evaluator = Evaluator(task, ranges="minmax")
    formats = Assignment.uniform(task.workload(), "mxfp4")
    with torch.no_grad(), evaluator.network.under(formats) as module:
        both = module(x)
    parts = []
    for fused in (False, True):
        with torch.no_grad(), evaluator.network.under(formats) as module:
            parts.append(module.get_submodule("inner")(x, fused))
    torch.testing.assert_close(both, parts[0] + parts[1])
