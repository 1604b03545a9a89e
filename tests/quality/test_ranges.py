"""Ranges of activations: every element counts, no rule is worse than the whole range where it was fitted."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import Assignment, Format, FormatPair, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.cache import ResultCache
from codesign.quality.histogram import EXACT, Histogram
from codesign.quality.layer_error import LayerError
from codesign.quality.range_trial import OutputTrial
from codesign.quality.ranges import Range, Ranges
from codesign.workload import Product

INPUT = ("root", "input")


def heavy_tailed(shape: tuple[int, ...], seed: int, channels: int = 2) -> Tensor:
    """Student t with two degrees of freedom; `channels` of the last axis are a hundred times as large."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=generator)
    chi = torch.randn((2, *shape), generator=generator).square().sum(0)
    x = normal / (chi / 2).sqrt()
    loud = torch.randperm(shape[-1], generator=generator)[:channels]
    x[..., loud] *= 100
    return x


def linear_task(calibration: Tensor) -> CustomTask:
    torch.manual_seed(0)
    return CustomTask("heavy", nn.Linear(calibration.shape[-1], 3), calibration, calibration[:1], None)


def squared_error(x: Tensor, fmt: Format, amax: Range) -> float:
    return float((fmt.fake_quantize(x, amax=amax) - x).double().square().sum())


def whole(x: Tensor, fmt: Format) -> Range:
    low, high = float(x.min()), float(x.max())
    return (min(low, 0.0), max(high, 0.0)) if fmt.has_zero_point else max(-low, high)


@pytest.mark.parametrize(
    "length", [n if n % 16 == 1 else pytest.param(n, marks=pytest.mark.slow) for n in range(128, 257)]
)  # all together take half a minute
def test_the_least_squared_error_is_never_worse_than_min_max_at_any_length(length: int) -> None:
    """Widths are odd and lengths all there are, so that no stride through the elements could be lucky."""
    x = heavy_tailed((2, length, 2 * length + 75), seed=length)
    ranges = Ranges(linear_task(x), "mse")
    for name in ("int8", "int4"):
        fmt = get_format(name)
        assert squared_error(x, fmt, ranges.get(INPUT, fmt)) <= squared_error(x, fmt, whole(x, fmt))


@pytest.mark.parametrize(
    "name", ["int2", "int4", "int8", "int8_zp", "int12", "int16", "fp8_e4m3", "fp8_e5m2", "fp4_e2m1"]
)
@pytest.mark.parametrize("kind", ["normal", "heavy", "positive", "few"])
def test_the_least_squared_error_is_never_worse_than_min_max_in_any_format(name: str, kind: str) -> None:
    x = {
        "normal": torch.randn(3, 101, 333, generator=torch.Generator().manual_seed(1)),
        "heavy": heavy_tailed((3, 101, 333), seed=2),
        "positive": heavy_tailed((3, 101, 333), seed=3).relu(),
        "few": heavy_tailed((1, 3, 7), seed=4),
    }[kind]
    fmt = get_format(name)
    found = squared_error(x, fmt, Ranges(linear_task(x), "mse").get(INPUT, fmt))
    assert found <= squared_error(x, fmt, whole(x, fmt))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["int8", "int4", "fp8_e4m3"])
def test_the_range_is_close_to_the_best_over_all_elements(name: str) -> None:
    x, fmt = heavy_tailed((4, 128, 257), seed=5, channels=0), get_format(name)
    best = min(squared_error(x, fmt, float(x.abs().max()) * share) for share in torch.linspace(1, 0.005, 400).tolist())
    assert squared_error(x, fmt, Ranges(linear_task(x), "mse").get(INPUT, fmt)) <= 1.05 * best


def test_a_range_far_below_the_largest_magnitude_is_found() -> None:
    """Of a million normal numbers and one of three hundred times as much, four bits had better serve the million."""
    x = torch.randn(1, 1000, 1001, generator=torch.Generator().manual_seed(6))
    x[0, 0, 0] = 300
    assert Ranges(linear_task(x), "mse").get(INPUT, get_format("int4")) < 10


def test_a_single_outlier_anywhere_is_seen() -> None:
    x = torch.full((1, 300, 333), 0.5)
    x[0, 211, 97] = -4.0
    assert Ranges(linear_task(x), "minmax").get(INPUT, get_format("int8")) == 4.0
    assert Ranges(linear_task(x), "mse").get(INPUT, get_format("int8_zp"))[0] < -3.9


def test_the_percentile_is_that_of_all_elements() -> None:
    x = heavy_tailed((2, 200, 501), seed=7)
    found = Ranges(linear_task(x), "percentile").get(INPUT, get_format("int8"))
    magnitudes = x.abs().flatten().sort().values
    assert found == pytest.approx(float(magnitudes[round(0.9999 * len(magnitudes)) - 1]), rel=2**-10)


def test_ranges_do_not_depend_on_how_calibration_is_cut_into_calls() -> None:
    x = heavy_tailed((6, 150, 333), seed=8)

    class InParts(CustomTask):
        def calibrate(self, module: nn.Module) -> None:
            for part in (x[4:], x[:1], x[1:4]):
                module(part)

    whole_run = linear_task(x)
    parts = InParts("heavy", whole_run.module, x, x[:1], None)
    for name in ("int8", "int4"):
        assert Ranges(parts, "mse").get(INPUT, get_format(name)) == Ranges(whole_run, "mse").get(
            INPUT, get_format(name)
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused_with_its_layer(value: float) -> None:
    x = torch.zeros(1, 4, 9)
    x[0, 1, 2] = value
    with pytest.raises(InputError, match=r"heavy: layer 'root': its input holds NaN or infinity"):
        Ranges(linear_task(x))


def test_samples_that_hold_nan_themselves_are_named() -> None:
    x = torch.zeros(32, 4, 9)
    x[5, 1, 2], x[7, 0, 0] = float("nan"), float("inf")
    said = r"^heavy: layer .root.: its input .* run, as 2 of 32 samples of its data do: 5, 7 \(counted from 0\)$"
    with pytest.raises(InputError, match=said):
        Ranges(linear_task(x))
    with pytest.raises(InputError, match=r"as 30 of 32 .* do: 2, 3, 4, 5, 6, 7, 8, 9, \.\.\. \(counted from 0\)$"):
        Ranges(linear_task(torch.cat([x[:2] * 0, torch.full((30, 4, 9), float("nan"))])))


def test_the_call_of_samples_that_hold_nan_is_named() -> None:
    x = torch.zeros(6, 4, 9)
    x[5] = float("nan")

    class InParts(CustomTask):
        def calibrate(self, module: nn.Module) -> None:
            for part in (x[:4], x[4:]):
                module(part)

    with pytest.raises(InputError, match=r"as 1 of 2 samples of its data do in call 2: 1 \(counted from 0\)$"):
        Ranges(InParts("heavy", linear_task(x).module, x, x, None))


def test_nan_that_the_network_makes_is_told_from_nan_in_its_data() -> None:
    class Logarithm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(9, 2)

        def forward(self, x: Tensor, none: Tensor, scale: Tensor) -> Tensor:
            found: Tensor = self.layer(x.log() * scale)
            return found

    data = (-torch.ones(3, 9), torch.ones(3, 0, 9), torch.tensor(2.0))
    task = CustomTask("made", Logarithm(), data, data, None)
    with pytest.raises(InputError, match=r"^made: layer 'layer': .* run, which its data do not: the network makes it$"):
        Ranges(task)
    assert not task.module._forward_pre_hooks


def test_an_unknown_rule_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'minmax'"):
        Ranges(linear_task(torch.ones(1, 2, 3)), "minmaxx")  # type: ignore[arg-type]  # the mistake is tested


def test_few_elements_are_kept_as_they_are() -> None:
    x = torch.randn(EXACT, generator=torch.Generator().manual_seed(9))
    histogram = Histogram()
    histogram.add(x[:1000])
    histogram.add(x[1000:])
    values, counts = histogram.rows()
    assert torch.equal(values, x)
    assert bool((counts == 1).all())


def test_many_elements_are_all_counted_none_moved_by_more_than_half_a_tf32_step() -> None:
    x = torch.cat([heavy_tailed((3, 64, 997), seed=10).flatten(), torch.tensor([0.0, -0.0, 1.0, -2.0, 1e-42, 3.4e38])])
    histogram = Histogram()
    for part in x.split(50_000):
        histogram.add(part)
    values, counts = histogram.rows()
    assert int(counts.sum()) == len(x)
    assert len(values) < len(x)
    spread = values.repeat_interleave(counts).double().sort().values
    moved = (spread - x.double().sort().values).abs()
    assert bool((moved <= 2.0**-11 * x.double().sort().values.abs() + 2.0**-139).all())
    assert bool(torch.isfinite(values).all())
    for kept in (0.0, 1.0, -2.0):
        assert kept in values


def test_half_precision_counts_like_float32() -> None:
    x = torch.randn(3, 100, 301, generator=torch.Generator().manual_seed(11)).bfloat16()
    histograms = Histogram(), Histogram()
    histograms[0].add(x)
    histograms[1].add(x.float())
    assert all(torch.equal(a, b) for a, b in zip(*(h.rows() for h in histograms), strict=True))


def test_counts_do_not_depend_on_the_order_and_size_of_calls() -> None:
    x = heavy_tailed((210_000, 1), seed=12, channels=0).flatten()
    found = []
    for parts in ([x], [x[:200_000], x[200_000:]], [x[200_000:], x[:200_000]], list(x.split(30_000))):
        histogram = Histogram()
        for part in parts:
            histogram.add(part)
        found.append(histogram.rows())
    assert all(torch.equal(values, found[0][0]) and torch.equal(counts, found[0][1]) for values, counts in found[1:])


class Sink(nn.Module):
    """A network that reads one huge number of each sample, and many small ones that hardly matter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 32, bias=False)
        with torch.no_grad():
            self.first.weight.mul_(1e-3)[0, 0] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x)


def sinks(rows: int = 64) -> Tensor:
    x = torch.randn((rows, 32), generator=torch.Generator().manual_seed(0))
    x[::16, 0] = 40.0  # clipped by the least squared error of all elements
    return x


@pytest.mark.parametrize("name", ["int4", "int5", "int8", "fp4_e2m1", "int4_zp"])
def test_the_rule_by_outputs_loses_least_of_a_layers_output_row_by_row(name: str) -> None:
    torch.manual_seed(0)
    x, fmt = sinks(), get_format(name)
    network = Sink()
    task = CustomTask("sink", network, x, x, None)

    def loss(amax: Range) -> float:
        expected = network(x)
        error = network(fmt.fake_quantize(x, amax=amax)) - expected
        return float((error.square().sum(1) / expected.square().sum(1)).mean())

    found = {rule: loss(Ranges(task, rule).get(("first", "input"), fmt)) for rule in ("output", "minmax", "mse")}
    assert found["output"] <= 1.05 * min(found.values())


@pytest.mark.parametrize("name", ["int4", "int8", "fp8_e4m3", "int4_zp"])
def test_the_default_is_the_rule_with_which_the_networks_outputs_change_least(name: str) -> None:
    torch.manual_seed(0)
    x, fmt = sinks(), get_format(name)
    network = Sink()
    task = CustomTask("sink", network, x, x, None)

    def loss(amax: Range) -> float:
        return float((network(fmt.fake_quantize(x, amax=amax)) - network(x)).square().sum())

    site = ("first", "input")
    least = min(loss(Ranges(task, rule).get(site, fmt)) for rule in ("minmax", "mse", "output"))
    assert loss(Ranges(task).get(site, fmt)) == least


def test_the_default_tries_nothing_for_formats_without_a_range() -> None:
    x = sinks()
    ranges = Ranges(CustomTask("sink", Sink(), x, x, None))
    assert ranges.rule_of(get_format("nvfp4")) == "auto"
    assert ranges.get(("first", "input"), get_format("nvfp4")) == 40.0


class Paced(nn.Module):
    """Computes something on even calls and goes on from it on odd ones, which another run in between would upset."""

    def __init__(self) -> None:
        super().__init__()
        self.deep, self.out = nn.Linear(16, 16), nn.Linear(16, 4)
        self.kept: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.kept = [self.deep(x)]
        return self.out(x) + self.out(self.kept[0])


def test_a_network_with_state_is_not_run_again_amid_its_own_run() -> None:
    torch.manual_seed(0)
    task = CustomTask("paced", Paced(), torch.randn(24, 16), torch.randn(8, 16), None)
    evaluator = Evaluator(task)
    assignment = Assignment.of_pairs(dict.fromkeys(evaluator.layers, FormatPair.parse("int4")), evaluator.layers)
    assert evaluator(assignment).value == evaluator.again(assignment).value


@pytest.mark.parametrize("outputs", ["no call", "masked"])
def test_outputs_that_tell_nothing_leave_the_least_squared_error(
    outputs: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    x, module = sinks(), Sink()
    forward = (lambda module, inputs: module.first(inputs)) if outputs == "no call" else None
    if outputs == "masked":
        module.register_forward_hook(lambda _module, _given, out: out.masked_fill(torch.eye(64, 32) > 0, -math.inf))
    ranges = Ranges(CustomTask("sink", module, x, x, None, forward=forward))
    said = ranges.rule_of(get_format("int8")), "no outputs in calibration" in caplog.text
    assert said == ("mse", True) if outputs == "no call" else not said[1]


def test_the_rule_by_outputs_needs_no_more_than_a_share_of_the_rows() -> None:
    error = LayerError()
    x = torch.randn(4096, 32)
    error.add(Product("a", "linear", "linear", x, torch.randn(8, 32)))
    assert error.rows[0].shape == (1, 80, 32)
    assert float(error.counts[0].sum()) == pytest.approx(4096)
    assert error.relative()(lambda rows: rows) == 0
    assert error.relative()(lambda rows: 0 * rows) == pytest.approx(1)


def test_runs_that_are_compared_draw_the_same_noise() -> None:
    class Noisy(Sink):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + torch.randn_like(x))

    x = sinks()
    trial = OutputTrial(CustomTask("noisy", Noisy(), x, x, None))
    state = torch.random.get_rng_state()
    assert trial.distance(lambda _: None) == 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_another_process_finds_the_rules_that_trials_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(12, 4, 9, generator=torch.Generator().manual_seed(0))
    fmt, task = get_format("int4"), linear_task(x)
    cache = ResultCache(tmp_path, {"task": "a"})
    found = Ranges(task, cache=cache).rule_of(fmt)
    other = Ranges(task, cache=ResultCache(tmp_path, {"task": "another"}))
    monkeypatch.setattr(OutputTrial, "distance", lambda *_: pytest.fail("tried again"))
    assert Ranges(task, cache=cache).rule_of(fmt) == found
    with pytest.raises(pytest.fail.Exception, match="tried again"):
        other.rule_of(fmt)
