"""A tensor that is written over in place is another one, although it is the same object."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codesign.formats import Assignment, FormatPair, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.rounding.moments import Moments
from codesign.quality.unchanged import seen, unchanged


class InPlace(nn.Module):
    """A residual stream that is added to in place."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x += 10 * self.a(x)
        out: Tensor = self.b(x)
        return out


def in_place() -> CustomTask:
    torch.manual_seed(0)
    return CustomTask("in place", InPlace(), torch.randn(32, 8), torch.randn(32, 8), None)


def test_writes_are_seen_where_torch_counts_them_and_assumed_where_it_does_not() -> None:
    x = torch.zeros(4)
    before = seen(x)
    assert unchanged(before, x)
    assert not unchanged(before, torch.zeros(4))
    x[1:3] += 1
    assert not unchanged(before, x)
    with torch.inference_mode():
        y = torch.zeros(4)
        assert not unchanged(seen(y), y)


def test_layers_around_a_write_in_place_read_what_is_there() -> None:
    evaluator = Evaluator(in_place())
    whole = dict.fromkeys(evaluator.layers, FormatPair.parse("fp32"))
    assert evaluator(Assignment.of_pairs(whole, evaluator.layers)).value < -10
    moments = Moments(in_place()).of(["a", "b"])
    assert float((moments["a"] - moments["b"]).abs().max()) > 1


class Shared(nn.Module):
    """Two layers that read one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.a(x) + self.b(x)
        return out


def test_layers_that_read_one_tensor_each_have_their_own_range() -> None:
    torch.manual_seed(0)
    module, x = Shared(), torch.randn(32, 8)
    evaluator = Evaluator(CustomTask("shared", module, x, x, None), ranges="minmax")
    found = {"a": 1.0, "b": 3.0}
    evaluator.network.ranges.get = lambda site, _: found[site[0]]  # type: ignore[method-assign]  # ranges of our own
    pairs = dict.fromkeys(evaluator.layers, FormatPair("fp32", "int4"))
    fmt = get_format("int4")
    with torch.no_grad():
        expected = module.a(fmt.fake_quantize(x, amax=1.0)) + module.b(fmt.fake_quantize(x, amax=3.0))
    torch.testing.assert_close(evaluator.outputs(Assignment.of_pairs(pairs, evaluator.layers))["output"], expected)
