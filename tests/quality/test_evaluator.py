"""What an Evaluator promises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

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
    assert evaluator(uniform(evaluator, "fp32")).value == pytest.approx(0, abs=1e-9)


def test_fewer_bits_lose_more(evaluator: Evaluator) -> None:
    losses = [evaluator(uniform(evaluator, name)).value for name in ("int8", "int6", "int4", "int3")]
    assert losses == sorted(losses)
    assert losses[-1] > 10 * losses[0]


def test_interval_holds_the_value(evaluator: Evaluator) -> None:
    quality = evaluator(uniform(evaluator, "mxfp4"))
    assert quality.low <= quality.value <= quality.high
    assert quality.low < quality.high
    assert quality.n == 48


def test_module_is_untouched(tiny: CustomTask, evaluator: Evaluator) -> None:
    before = {k: v.clone() for k, v in tiny.module.state_dict().items()}
    evaluator(uniform(evaluator, "int3"))
    assert all(torch.equal(v, before[k]) for k, v in tiny.module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in tiny.module.modules())


def test_plain_linear_equals_hand_quantized(tiny: CustomTask, evaluator: Evaluator) -> None:
    """Only the head is quantized, weights only: the output must be that of the head with rounded weights."""
    layers = {
        n: LayerFormats.of_pair(FormatPair("fp32", "fp32"), attention=k == "attention")
        for n, k in evaluator.layers.items()
    }
    layers["head"] = LayerFormats(activation="fp32", weight="int4")
    got = evaluator.outputs(Assignment.of(layers))["output"]
    weight = tiny.module.head.weight.detach().clone()
    scale = weight.abs().amax(dim=1, keepdim=True) / 7
    expected_weight = get_format("int4").fake_quantize(weight, axis=1)
    assert ((expected_weight / scale).round() - expected_weight / scale).abs().max() < 1
    with torch.no_grad():
        tiny.module.head.weight.copy_(expected_weight)
        expected = tiny.run(tiny.module)["output"]
        tiny.module.head.weight.copy_(weight)
    assert torch.allclose(got, expected, atol=1e-6)


def test_convolution_has_one_scale_per_output_channel() -> None:
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([1.0, 10, 100, 1000]).view(4, 1, 1, 1)
    error = (quantize_weight(weight, get_format("int8"), 1) - weight).flatten(1).abs().amax(dim=1)
    limit = weight.flatten(1).abs().amax(dim=1) / 127 / 2
    assert (error <= limit * 1.001).all()


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
    import copy

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
    (file,) = tmp_path.glob("*.json")
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
    import copy

    first = Evaluator(tiny, cache=tmp_path)
    first(uniform(first, "int5"))
    other = CustomTask("tiny", copy.deepcopy(tiny.module), tiny._calibration, tiny._evaluation, None)
    with torch.no_grad():
        other.module.head.bias += 0.5
    second = Evaluator(other, cache=tmp_path)
    second(uniform(second, "int5"))
    assert second.measured == 1


def test_sensitivities_predict_measured_losses(evaluator: Evaluator) -> None:
    """One layer at a time: the estimate orders (layer, pair) as measurement does."""
    from scipy.stats import spearmanr

    pairs = [FormatPair.parse(p) for p in ("int8", "int4", "int3", "mxfp4", "fp8_e4m3", "int2:int8")]
    table = sensitivities(evaluator, pairs, probes=8)
    measured = []
    for layer, kind in evaluator.layers.items():
        for pair in pairs:
            layers = dict(uniform(evaluator, "fp32").layers)
            layers[layer] = LayerFormats.of_pair(pair, attention=kind == "attention")
            measured.append(evaluator(Assignment.of(layers)).value)
    assert spearmanr(table.reshape(-1), measured).statistic > 0.9
    total = table.sum(axis=0)
    whole = [evaluator(uniform(evaluator, str(p))).value for p in pairs[:2]]
    assert all(0.2 < t / w < 5 for t, w in zip(total[:2], whole, strict=True))
