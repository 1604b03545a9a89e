"""A loss is of formats alone: not of what was measured before, of the kernels, of the batch, or of live noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair, format_names, get_format
from codesign.models.task import LEAST_RAW
from codesign.models.user_task import as_task
from codesign.quality import Evaluator
from codesign.quality.quantized import quantize_weight
from codesign.quality.ranges import Ranges
from codesign.quality.trial import try_network

INT8 = FormatPair("int8", "int8")
FP32 = FormatPair("fp32", "fp32")


def evaluator(module: nn.Module, *inputs: Any) -> Evaluator:
    return Evaluator(as_task("python:tests:made", "made", (module.eval(), *(inputs * 2)[:2], None)))


def uniform(found: Evaluator, pair: FormatPair) -> Assignment:
    return Assignment.of_pairs(dict.fromkeys(found.layers, pair), found.layers)


def loss(found: Evaluator, pair: FormatPair) -> float:
    """The raw loss, 0 at the least that a logarithm is taken of."""
    raw = found.task.raw(found(uniform(found, pair)).value)
    return 0.0 if raw == LEAST_RAW else raw


class Modulated(nn.Module):
    """A convolution whose weight is a function of the input, as in StyleGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.style = nn.Parameter(torch.randn(8, 4, 3, 3)), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        style = self.style(x.mean(dim=(2, 3))).mean(dim=0)
        return F.conv2d(x, self.weight * style[None, :, None, None], padding=1)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Modulated()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.inner(x.flip(2) * 3)


@pytest.mark.parametrize("network", [Modulated, Twice])
def test_a_weight_made_of_the_input_does_not_depend_on_what_was_measured_before(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module, x = network(), torch.randn(24, 4, 6, 6)
    fresh, used = evaluator(module, x), evaluator(module, x)
    before = loss(used, INT8)
    assert loss(used, FP32) == 0 == loss(fresh, FP32)
    part = used(uniform(used, INT8), enough=-math.inf)
    assert part.of_part
    assert loss(used, INT8) == before == loss(evaluator(module, x), INT8) > 0


def test_the_float_network_runs_by_the_kernels_of_the_candidates() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    module, x = nn.TransformerEncoder(layer, 2), torch.randn(8, 5, 16)
    masked = torch.arange(5) >= torch.randint(2, 6, (8, 1))
    found = evaluator(module, {"src": x, "src_key_padding_mask": masked})
    assert loss(found, FP32) == 0
    assert loss(found, FormatPair("bf16", "bf16")) < loss(found, FormatPair("int4", "int4"))
    try_network(found)


class Growing(nn.Module):
    """Keeps state from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(x) + self.calls


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.layer(x), training=True)


@pytest.mark.parametrize("network", [Growing, Dropping])
def test_a_network_that_differs_from_itself_is_refused(network: type[nn.Module]) -> None:
    with pytest.raises(InputError, match="made: the float network run twice on the same data differs from itself by"):
        try_network(evaluator(network(), torch.randn(8, 8)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_loss_is_summed_in_float32_whatever_the_outputs_are(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    for parameter in wide.parameters():
        parameter.data = (parameter.data * 0.1).to(dtype).float()
    x = torch.randn(32, 64).to(dtype)
    expected = loss(evaluator(wide, x.float()), INT8)
    narrow = loss(evaluator(wide.to(dtype), x), INT8)
    assert 0 < expected < 1e-7
    assert expected / 10 < narrow < expected * 10  # in half precision itself it came out as 0


@pytest.mark.parametrize("outputs", ["grouped", "depthwise", "whole"])
@pytest.mark.parametrize("name", ["int8", "int8_zp", "fp8_e4m3", "mxfp4", "nvfp4", "int4_g32"])
def test_a_transposed_convolution_is_quantized_as_the_equal_convolution(name: str, outputs: str) -> None:
    torch.manual_seed(0)
    groups = {"grouped": 4, "depthwise": 64, "whole": 1}[outputs]
    plain = torch.randn(64, 64 // groups, 3, 3) * torch.logspace(-2, 1, 64)[:, None, None, None]
    inside = plain.reshape(groups, 64 // groups, 64 // groups, 3, 3).transpose(1, 2).reshape(64, 64 // groups, 3, 3)
    expected = quantize_weight(plain, get_format(name), 1)
    found = quantize_weight(inside, get_format(name), 0, groups=groups)
    again = found.reshape(groups, 64 // groups, 64 // groups, 3, 3).transpose(1, 2).reshape(plain.shape)
    assert torch.equal(again, expected)


@pytest.mark.parametrize("name", [name for name in format_names() if "_g6" not in name and "_g1" not in name])
def test_no_sample_depends_on_its_neighbours(name: str) -> None:
    torch.manual_seed(0)
    fmt, quiet = get_format(name), torch.randn(3, 64)
    loud = torch.cat([quiet, torch.full((1, 64), 1e4)])
    found = evaluator(nn.Linear(64, 4), torch.cat([quiet, quiet]))
    site = ("root", "input")
    beside = found.network.activation(loud, site, fmt, (1,))[:3]
    assert torch.equal(beside, found.network.activation(quiet, site, fmt, (1,)))


def test_nvfp4_takes_its_outer_scale_from_calibration() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 64)
    found = evaluator(nn.Linear(64, 4), x)
    ranges = found.network.ranges
    assert isinstance(ranges, Ranges)
    assert ranges.get(("root", "input"), get_format("nvfp4")) == x.abs().max()
    assert torch.equal(
        get_format("nvfp4").fake_quantize(x, 1, amax=float(x.abs().max())), get_format("nvfp4").fake_quantize(x, 1)
    )


METRICS: dict[str, tuple[Callable[[Tensor, Tensor], Any], str]] = {
    "long": (lambda y, r: torch.zeros(999), r"shape \[999\], expected one loss for each of 32 samples"),
    "scalar": (lambda y, r: (y - r).square().mean(), r"shape \[\], expected one loss for each of 32 samples"),
    "text": (lambda y, r: "low", "the metric returns str, no tensor"),
}


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_gives_one_loss_per_sample(metric: str) -> None:
    function, message = METRICS[metric]
    x = torch.randn(32, 8)
    found = Evaluator(as_task("python:tests:made", "made", (nn.Linear(8, 4), x, x, function)))
    with pytest.raises(InputError, match=message):
        loss(found, INT8)


def test_a_metric_in_numpy_is_taken() -> None:
    x = torch.randn(32, 8)
    made = (nn.Linear(8, 4), x.numpy(), x.numpy(), lambda y, r: (y - r).square().mean(1).numpy())
    assert loss(Evaluator(as_task("python:tests:made", "made", made)), INT8) > 0


def test_flags_numbers_and_what_samples_share_stay_whole() -> None:
    class Flagged(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, scale: Tensor, plain: bool, mask: Tensor, x: Tensor) -> Tensor:
            assert plain
            return self.layer(x @ mask) * scale

    x = torch.randn(30, 8)
    found = evaluator(Flagged(), {"scale": torch.tensor(0.5), "plain": True, "mask": torch.eye(8), "x": x})
    assert found(uniform(found, INT8), enough=-math.inf).of_part
    assert found(uniform(found, INT8)).n == 30
