"""What an Evaluator promises."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator, UnmeasurableError, sensitivities
from codesign.quality.quantized import quantize_weight


def uniform(evaluator: Evaluator, pair: str) -> Assignment:
    parsed = FormatPair.parse(pair)
    kinds = evaluator.layers
    return Assignment.of({n: LayerFormats.of_pair(parsed, attention=k == "attention") for n, k in kinds.items()})


@pytest.fixture(scope="module")
def evaluator(tiny: CustomTask) -> Evaluator:
    return Evaluator(tiny)


def test_float_formats_lose_nothing(evaluator: Evaluator) -> None:
    assert evaluator(uniform(evaluator, "fp32")).value == -12  # of a squared error of zero, in log10


def test_fewer_bits_lose_more(evaluator: Evaluator) -> None:
    losses = [
        evaluator.task.raw(evaluator(uniform(evaluator, name)).value) for name in ("int8", "int6", "int4", "int3")
    ]
    assert losses == sorted(losses)
    assert losses[-1] > 10 * losses[0]


def test_the_value_is_of_the_mean_over_samples_and_its_interval_about_two_standard_errors(evaluator: Evaluator) -> None:
    assignment = uniform(evaluator, "mxfp4")
    quality = evaluator(assignment)
    errors = (evaluator.outputs(assignment)["output"] - evaluator.reference()[0]["output"]).square().mean(dim=1)
    two_standard_errors = 1.96 * float(errors.std()) / 48**0.5
    assert quality.n == 48
    raw = evaluator.task.raw
    assert raw(quality.value) == pytest.approx(float(errors.mean()), rel=1e-5)
    assert raw(quality.value) - raw(quality.low) == pytest.approx(two_standard_errors, rel=0.25)
    assert raw(quality.high) - raw(quality.value) == pytest.approx(two_standard_errors, rel=0.25)


def test_module_is_untouched(tiny: CustomTask, evaluator: Evaluator) -> None:
    before = {k: v.clone() for k, v in tiny.module.state_dict().items()}
    evaluator(uniform(evaluator, "int3"))
    assert all(torch.equal(v, before[k]) for k, v in tiny.module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.module.modules())


def test_only_the_layer_that_has_a_format_is_rounded_to_it() -> None:
    """The second of two layers in int4: its rows have the scales 7 / 7 and 0.14 / 7, and -2.4 and 3.25 of them go."""
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 0.3], [0.0, 1.0]]))
        module[1].weight.copy_(torch.tensor([[7.0, -2.4], [0.14, 0.065]]))
    x = torch.tensor([[1.0, 10.0]])
    evaluator = Evaluator(CustomTask("two", module, x, x, None))
    layers = {"0": LayerFormats("fp32", weight="fp32"), "1": LayerFormats("fp32", weight="int4")}
    got = evaluator.outputs(Assignment.of(layers))["output"]
    # (1, 10) -> (4, 10) -> (7 * 4 - 2 * 10, 0.14 * 4 + 0.06 * 10)
    torch.testing.assert_close(got, torch.tensor([[8.0, 1.16]]))


def test_convolution_has_one_scale_per_output_channel() -> None:
    """1.27 / 127 and 127 / 127, each for both taps of its channel."""
    weight = torch.tensor([[1.27, -0.634], [127.0, 63.4]]).view(2, 1, 1, 2)
    found = quantize_weight(weight, get_format("int8"), 1)
    torch.testing.assert_close(found, torch.tensor([[1.27, -0.63], [127.0, 63.0]]).view(2, 1, 1, 2))


def test_missing_layer_is_named(evaluator: Evaluator) -> None:
    layers = dict(uniform(evaluator, "int8").layers)
    del layers["to_q"]
    with pytest.raises(InputError, match="to_q"):
        evaluator(Assignment.of(layers))


def test_unknown_layer_offers_the_nearest(evaluator: Evaluator) -> None:
    layers = dict(uniform(evaluator, "int8").layers)
    layers["haed"] = layers["head"]
    with pytest.raises(InputError, match="did you mean 'head'"):
        evaluator(Assignment.of(layers))


def test_unknown_format_offers_the_nearest(evaluator: Evaluator) -> None:
    layers = dict(uniform(evaluator, "int8").layers)
    layers["head"] = LayerFormats(activation="int8", weight="fp8_e4m4")
    with pytest.raises(InputError, match="fp8_e4m3"):
        evaluator(Assignment.of(layers))


def test_nan_weights_are_refused_by_name(tiny: CustomTask) -> None:
    broken = CustomTask("broken", copy.deepcopy(tiny.module), tiny._calibration, tiny._evaluation, None)
    with torch.no_grad():
        broken.module.head.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match=r"head\.weight"):
        Evaluator(broken)


def test_infinite_loss_is_a_failure_with_a_reason(tiny: CustomTask) -> None:
    def bad(outputs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        return torch.full((len(outputs),), float("inf"))

    evaluator = Evaluator(CustomTask("bad", tiny.module, tiny._calibration, tiny._evaluation, bad))
    with pytest.raises(UnmeasurableError, match="infinite"):
        evaluator(uniform(evaluator, "int8"))


def test_cached_result_is_reused(tiny: CustomTask, tmp_path: Path) -> None:
    first = Evaluator(tiny, cache=tmp_path)
    value = first(uniform(first, "int5"))
    second = Evaluator(tiny, cache=tmp_path)
    assert second(uniform(second, "int5")) == value
    assert (first.measured, second.measured) == (1, 0)


@pytest.mark.parametrize("damage", ["result", "key", "text"])
def test_tampered_cache_entry_is_refused(tiny: CustomTask, tmp_path: Path, damage: str) -> None:
    first = Evaluator(tiny, cache=tmp_path)
    value = first(uniform(first, "int5"))
    (file,) = (each for each in tmp_path.glob("*.json") if json.loads(each.read_text())["key"]["kind"] == "deciding")
    entry = json.loads(file.read_text())
    if damage == "result":
        entry["result"][0]["value"] = 0.0
    elif damage == "key":
        entry["key"]["identity"]["fingerprint"] = "of another network"
    file.write_text("{broken" if damage == "text" else json.dumps(entry))
    second = Evaluator(tiny, cache=tmp_path)
    assert second(uniform(second, "int5")) == value
    assert (second.measured, second.cache.refused) == (1, 1)


def test_foreign_network_never_hits_the_cache(tiny: CustomTask, tmp_path: Path) -> None:
    first = Evaluator(tiny, cache=tmp_path)
    first(uniform(first, "int5"))
    other = CustomTask("tiny", copy.deepcopy(tiny.module), tiny._calibration, tiny._evaluation, None)
    with torch.no_grad():
        other.module.head.bias += 0.5
    second = Evaluator(other, cache=tmp_path)
    second(uniform(second, "int5"))
    assert second.measured == 1


def test_sensitivities_predict_measured_losses(evaluator: Evaluator) -> None:
    """One layer at a time: the estimate orders (layer, pair) as measurement does, and its sums have their size."""
    pairs = [FormatPair.parse(p) for p in ("int8", "int4", "int3", "mxfp4", "fp8_e4m3", "int2:int8")]
    table = sensitivities(evaluator, pairs, probes=8)
    measured = []
    for layer, kind in evaluator.layers.items():
        for pair in pairs:
            layers = dict(uniform(evaluator, "fp32").layers)
            layers[layer] = LayerFormats.of_pair(pair, attention=kind == "attention")
            measured.append(evaluator(Assignment.of(layers)).value)
    assert spearmanr(table.reshape(-1), measured).statistic > 0.9
    whole = [evaluator.task.raw(evaluator(uniform(evaluator, str(pair))).value) for pair in pairs]
    ratios = table.sum(axis=0) / whole
    assert ratios.shape == (6,)
    assert np.exp(np.abs(np.log(ratios))).max() < 4
