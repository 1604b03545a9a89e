"""The rows and columns that stand for a product in checks of the arithmetic."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.formats import FormatPair, get_format
from codesign.hardware.rtl.verify.codes import OperandCodes
from codesign.models.custom import CustomTask
from codesign.quality import LayerOperands, sample_operands
from codesign.quality.quantized import quantize_tokens
from codesign.quality.ranges import Ranges
from codesign.quality.rounding import ChosenWeights
from codesign.workload import ProductInterceptor


def operands(module: nn.Module, x: Tensor) -> dict[tuple[str, str], LayerOperands]:
    task = CustomTask("net", module.eval(), x, x, None)
    return {(o.layer, o.kind): o for o in sample_operands(task)}


def products(o: LayerOperands) -> Tensor:
    """[M, N] of the sample."""
    return o.streamed.flatten(1) @ o.stationary.flatten(1).T


def among(found: Tensor, outputs: Tensor) -> bool:
    """Whether every number in `found` is one of `outputs`, within rounding."""
    return bool(torch.isclose(found.reshape(-1, 1), outputs.reshape(1, -1), atol=1e-5).any(dim=1).all())


def test_a_tiny_network_has_both_halves_of_its_attention(tiny: CustomTask) -> None:
    kinds = [(o.layer, o.kind) for o in sample_operands(tiny)]
    assert ("root", "attention_qk") in kinds
    assert ("root", "attention_pv") in kinds
    assert len(kinds) == len(set(kinds)) == 7


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_patches_of_a_convolution_multiply_to_its_outputs(groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 12, 3, bias=False, groups=groups)
    x = torch.randn(2, 6, 7, 5)
    found = operands(nn.Sequential(conv), x)["0", "conv"]
    assert found.streamed.shape[1:] == found.stationary.shape[1:] == (9, 6 // groups)
    with torch.no_grad():
        assert among(products(found), conv(x))


def test_an_input_smaller_than_the_kernel_is_padded() -> None:
    conv = nn.Conv1d(2, 3, 5, padding=2, bias=False)
    found = operands(nn.Sequential(conv), torch.randn(4, 2, 3))["0", "conv"]
    assert found.streamed.shape == (4, 5, 2)


def test_pixels_of_a_transposed_convolution_multiply_to_its_outputs() -> None:
    torch.manual_seed(0)
    conv = nn.ConvTranspose2d(4, 3, 2, stride=2, bias=False)
    x = torch.randn(2, 4, 3, 3)
    found = operands(nn.Sequential(conv), x)["0", "conv"]
    assert found.stationary.shape == (12, 1, 4)
    with torch.no_grad():
        assert among(products(found), conv(x))


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 3), nn.Linear(5, 6)])
@pytest.mark.parametrize("name", ["int8_token", "int8_zp_token", "fp4_e2m1_token"])
def test_sampled_rows_take_the_scales_per_token_of_their_layer(layer: nn.Module, name: str) -> None:
    torch.manual_seed(0)
    x, fmt = torch.randn(3, 4, 5, 5) * torch.logspace(-2, 2, 3)[:, None, None, None], get_format(name)
    ((_, found),) = operands(nn.Sequential(layer), x).items()
    task = CustomTask("net", nn.Sequential(layer).eval(), x, x, None)
    ranges = found.ranges(FormatPair("fp32", name), Ranges(task))
    codes = OperandCodes.of(fmt, found.streamed, ranges[1], per_row=False, block=0)
    axes = (3,) if isinstance(layer, nn.Linear) else (1, 2, 3)
    assert among(codes.dequantized, quantize_tokens(x, fmt, axes))


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(20, 38, 2, groups=2), nn.ConvTranspose2d(20, 12, 2, groups=2), nn.Linear(40, 20)],
)
def test_codes_of_a_chosen_weight_are_those_of_the_sampled_rows(layer: nn.Module) -> None:
    """The rounded weight in the layer's place, sampled, is what its codes stand for."""
    torch.manual_seed(0)
    x = torch.randn(4, 40) if isinstance(layer, nn.Linear) else torch.randn(2, 20, 5, 6)
    task = CustomTask("net", nn.Sequential(copy.deepcopy(layer)).eval(), x, x, None)
    (found,), chosen = sample_operands(task), ChosenWeights(task)
    for name in ("int4", "int4_g32_zp", "mxfp4", "nvfp4"):
        fmt, seen = get_format(name), []
        with ProductInterceptor(task.module, lambda p, fmt=fmt, seen=seen: seen.append(chosen.weight(p, fmt, "gptq"))):
            task.run(task.module)
        rounded = CustomTask("net", nn.Sequential(copy.deepcopy(layer)).eval(), x, x, None)
        rounded.module[0].weight.data = seen[0]
        (wanted,) = sample_operands(rounded)
        quantized = found.weight(FormatPair(name, "int8", "gptq"), chosen)
        codes = OperandCodes.of(fmt, quantized, None, per_row=True, block=32)
        rows, taps, channels = wanted.stationary.shape
        assert torch.equal(codes.dequantized.view(rows, taps, -1)[..., :channels], wanted.stationary)
        values = torch.from_numpy(codes.elements * codes.outer.reshape(-1, 1)).float()
        assert torch.allclose(values, codes.dequantized, rtol=1e-6)


class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, 7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bhtd,hdo->bto", x, self.weight)


def test_an_einsum_over_two_labels_multiplies_to_its_outputs() -> None:
    torch.manual_seed(0)
    module, x = Einsum(), torch.randn(2, 3, 4, 5)
    (found,) = operands(module, x).values()
    assert found.streamed.shape[1:] == (3, 5)
    with torch.no_grad():
        assert among(products(found), module(x))


class Heads(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x[:, :4], x[:, 4:6], x[:, 6:8], enable_gqa=True)


def test_attention_is_sampled_in_one_head() -> None:
    torch.manual_seed(0)
    module, x = Heads(), torch.randn(2, 8, 5, 6)
    found = operands(module, x)["root", "attention_pv"]
    assert found.streamed.shape == (5, 1, 5)
    assert found.stationary.shape == (6, 1, 5)
    assert torch.allclose(products(found), module(x)[0, 0], atol=1e-5)


def test_at_most_16_rows_and_columns_are_kept() -> None:
    linear = nn.Linear(8, 40, bias=False)
    found = operands(nn.Sequential(linear), torch.randn(100, 8))["0", "linear"]
    assert found.streamed.shape == found.stationary.shape == (16, 1, 8)
    assert torch.equal(found.stationary[-1, 0], linear.weight[-1].detach())
