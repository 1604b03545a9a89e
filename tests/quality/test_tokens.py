"""Activations with one scale per token, taken from the data."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator, sensitivities

TOKEN = get_format("int8_token")


def outputs(module: nn.Module, x: Tensor, formats: LayerFormats, calibrated: Tensor | None = None) -> Tensor:
    """The output of a network whose layers all take `formats`, calibrated on other data if given."""
    task = CustomTask("net", module.eval(), x if calibrated is None else calibrated, x, None)
    found = Evaluator(task)
    with torch.no_grad(), found.network.under(Assignment.of(dict.fromkeys(found.layers, formats))) as quantized:
        result: Tensor = quantized(x)
    return result


def rounded(x: Tensor, dims: tuple[int, ...], levels: int = 127) -> Tensor:
    """`x` in symmetric integers, with one scale over `dims`."""
    scale = x.abs().amax(dims, keepdim=True) / levels
    return (x / scale).round() * scale


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_a_linear_layer_scales_each_of_its_input_vectors() -> None:
    layer, x = nn.Linear(16, 4, bias=False), torch.randn(2, 3, 16) * torch.logspace(-2, 2, 3)[:, None]
    found = outputs(layer, x, LayerFormats("int8_token", "fp32"))
    assert torch.equal(found, F.linear(rounded(x, (2,)), layer.weight))


def test_calibration_does_not_change_a_scale_per_token() -> None:
    layer, x = nn.Linear(16, 4), torch.randn(2, 3, 16)
    formats = LayerFormats("fp4_e2m1_token", "int8")
    assert torch.equal(outputs(layer, x, formats), outputs(layer, x, formats, calibrated=x / 100))


def test_a_weight_per_token_is_the_plain_weight() -> None:
    for layer, x in ((nn.Linear(16, 4), torch.randn(2, 16)), (nn.Conv2d(4, 6, 3), torch.randn(2, 4, 5, 5))):
        plain = outputs(layer, x, LayerFormats("fp32", "int4"))
        assert torch.equal(outputs(layer, x, LayerFormats("fp32", "int4_token")), plain)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_scales_each_sample_as_a_whole(layout: torch.memory_format) -> None:
    layer = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    x = (torch.randn(3, 4, 5, 5) * torch.logspace(-2, 2, 3)[:, None, None, None]).to(memory_format=layout)
    found = outputs(layer, x, LayerFormats("int8_token", "fp32"))
    assert torch.equal(found, F.conv2d(rounded(x, (1, 2, 3)), layer.weight, groups=2))


def test_a_transposed_convolution_scales_each_sample_as_a_whole() -> None:
    layer, x = nn.ConvTranspose1d(4, 6, 3, bias=False), torch.randn(3, 4, 5)
    found = outputs(layer, x, LayerFormats("int8_token", "fp32"))
    assert torch.equal(found, F.conv_transpose1d(rounded(x, (1, 2)), layer.weight))


class Unbatched(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 6, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[0])[None]


def test_a_convolution_without_a_batch_has_one_scale() -> None:
    module, x = Unbatched(), torch.randn(1, 4, 9)
    found = outputs(module, x, LayerFormats("int8_token", "fp32"))
    assert torch.equal(found, F.conv1d(rounded(x, (1, 2)), module.conv.weight))


@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3), nn.Linear(5, 6)])
def test_a_loud_sample_leaves_the_others_as_they_are(layer: nn.Module) -> None:
    x = torch.randn(3, 4, 5, 5)
    loud = torch.cat([x, 1e4 * x[:1]])
    formats = LayerFormats("int8_token", "int8")
    assert torch.equal(outputs(layer, loud, formats, calibrated=loud)[:3], outputs(layer, x, formats))


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(x, 2 * x, 3 * x)


def test_attention_scales_every_operand_along_its_contraction() -> None:
    x = torch.randn(2, 3, 5, 8)
    found = outputs(Attention(), x, LayerFormats("int8_token", key="int8_token", value="int8_token"))
    query, key, value = rounded(x, (3,)), rounded(2 * x, (3,)), rounded(3 * x, (2,))
    probability = rounded(((query / 8**0.5) @ key.transpose(2, 3)).softmax(-1), (3,))
    torch.testing.assert_close(found, probability @ value, atol=1e-6, rtol=1e-5)


class Einsum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 5, 7))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bhtd,hdo->bto", x, self.weight)


def test_an_einsum_has_one_scale_over_all_labels_that_it_sums() -> None:
    module, x = Einsum(), torch.randn(2, 3, 4, 5)
    found = outputs(module, x, LayerFormats("int8_token", "fp32"))
    torch.testing.assert_close(found, torch.einsum("bhtd,hdo->bto", rounded(x, (1, 3)), module.weight))


def test_each_format_per_token_has_a_sensitivity_of_its_own() -> None:
    x = torch.randn(16, 32) * torch.logspace(-2, 2, 16)[:, None]
    found = Evaluator(CustomTask("net", nn.Linear(32, 4), x, x, None), ranges="minmax")
    pairs = [FormatPair("fp32", name) for name in ("int4", "int4_token")]
    plain, token = sensitivities(found, pairs)[0]
    assert 0 < token < plain
