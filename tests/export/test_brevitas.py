"""What an exported Brevitas network promises."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from codesign.errors import CodesignError, EnvironmentProblem, InputError
from codesign.export import bundle, export_design, export_task, load_brevitas, output_psnr_db
from codesign.export.quantizers import activation_quantizer, computed, supported_names, weight_quantizer
from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from codesign.quality.quantized import quantize_weight
from codesign.search.space import loading
from tests.designs import design, write_front

qnn = pytest.importorskip("brevitas.nn", reason="codesign[brevitas] is not installed")

SCALED = [name for name in supported_names("activation") if name != "fp32"]
MIXED = ("int8", "int4:fp8_e4m3", "mxfp4 + gptq", "int4_g32_zp:int8_zp")
COMPUTED = [name for name in SCALED if computed(get_format(name))]


def assign(evaluator: Evaluator, *pairs: str) -> Assignment:
    """The pairs in turn over the layers."""
    parsed = [FormatPair.parse(p) for p in pairs]
    return Assignment.of(
        {
            layer: LayerFormats.of_pair(parsed[i % len(parsed)], attention=kind == "attention")
            for i, (layer, kind) in enumerate(evaluator.layers.items())
        }
    )


def weights(evaluator: Evaluator, pair: str) -> Assignment:
    """The pair in layers with a weight; attention in int8."""
    attention = {n: f for n, f in assign(evaluator, "int8").layers if f.weight is None}
    return Assignment.of(dict(assign(evaluator, pair).layers) | attention)


@pytest.fixture(scope="module")
def evaluator(tiny: CustomTask) -> Evaluator:
    return Evaluator(tiny)


@pytest.fixture
def study(tmp_path: Path, tiny: CustomTask, evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study folder with two designs of the tiny network, one of which Brevitas cannot hold."""
    folder = tmp_path / "study"
    designs = [
        design("daaaa1111", {"tiny": assign(evaluator, *MIXED).to_dict()}),
        design("dbbbb2222", {"tiny": assign(evaluator, "int8", "nvfp4").to_dict()}),
    ]
    write_front(
        folder,
        designs,
        "name: small\ntasks:\n  tiny: {task: 'python:tiny:make'}\npairs: [int8]\n"
        "hardware: {units: {sets: [[int8]]}, rows: [4], columns: [4], sram_kib: [64]}\n"
        "objectives: [tiny.quality, area_mm2]\n",
    )
    monkeypatch.setattr(bundle, "load_task", lambda spec, **_: tiny)
    monkeypatch.setattr(loading, "load_task", lambda spec, **_: tiny)
    return folder


@pytest.mark.parametrize("name", COMPUTED)
def test_weights_are_rounded_as_ours_are(name: str) -> None:
    fmt = get_format(name)
    generator = torch.Generator().manual_seed(0)
    for layer in (
        qnn.QuantLinear(70, 12, bias=False, weight_quant=weight_quantizer(fmt)),
        qnn.QuantConv2d(40, 12, 3, bias=False, weight_quant=weight_quantizer(fmt)),
    ):
        layer.eval()
        weight = torch.randn(layer.weight.shape, generator=generator) * torch.logspace(-2, 2, 12).view(
            -1, *[1] * (layer.weight.ndim - 1)
        )
        weight[3] = 0
        layer.weight.data.copy_(weight)
        rounded = layer.quant_weight()
        assert torch.equal(getattr(rounded, "value", rounded), quantize_weight(weight, fmt, 1))


@pytest.mark.parametrize("name", [*SCALED, "int8_zp_token"])
def test_activations_are_rounded_as_ours_are(name: str) -> None:
    fmt = get_format(name)
    generator = torch.Generator().manual_seed(0)
    for shape, axis in (((3, 5, 70), -1), ((2, 40, 6, 6), 1)):
        x = torch.randn(shape, generator=generator) * 3
        x.view(-1)[:40] = (torch.arange(40) - 20.5) * 9 / 255  # half-way between two codes of a range from -4 to 5
        amax = (-4.0, 5.0) if fmt.has_zero_point else 5.0
        quantizer = qnn.QuantIdentity(act_quant=activation_quantizer(fmt, axis, amax, (axis,))).eval()
        along = axis if fmt.is_block or fmt.per_token else None
        ours = fmt.fake_quantize(x, axis=along, amax=amax if fmt.takes_range else None)
        assert torch.equal(quantizer(x), ours)


@pytest.mark.parametrize("pair", ["int8", "fp8_e4m3", "mxfp8_e4m3", "mxfp4", "int4:fp8_e5m2", "fp32", "bf16"])
def test_uniform_network_equals_the_evaluated_one(tiny: CustomTask, evaluator: Evaluator, pair: str) -> None:
    assert export_task(tiny, assign(evaluator, pair), evaluator).psnr_db > 60


@pytest.mark.parametrize(
    "pair", ["int4:int8 + gptq", "int4_g32:int8 + gptq", "fp8_e4m3 + clip", "mxfp4 + gptq", "nvfp4:mxfp4 + gptq"]
)
def test_a_weight_rounded_by_a_method_keeps_its_codes_and_scales(
    tiny: CustomTask, evaluator: Evaluator, pair: str
) -> None:
    """Scales that Brevitas would take from the rounded weight are others where the largest code is not used."""
    assignment = weights(evaluator, pair)
    exported = export_task(tiny, assignment, evaluator)
    assert exported.psnr_db > 100
    for layer in ("conv", "to_q", "head"):
        fmt, owner = get_format(assignment[layer].weight), exported.network.get_submodule(layer)
        chosen = evaluator.chosen.of_layer(layer, fmt, assignment[layer].method)
        rows = chosen.dequantize().reshape(len(owner.weight), -1, owner.weight.shape[1]).transpose(1, 2)
        rounded = owner.quant_weight()
        assert torch.equal(rounded.value.reshape(rows.shape), rows)


@pytest.mark.parametrize(
    "pair",
    ["int4_g32:int8", "nvfp4:mxfp4", "mxfp4_rceil:mxfp4", "int4_g32_zp:int8_zp + gptq", "int8_zp:int8_token"],
)
def test_a_weight_has_formats_whose_scales_brevitas_does_not_compute(
    tiny: CustomTask, evaluator: Evaluator, pair: str
) -> None:
    assert export_task(tiny, weights(evaluator, pair), evaluator).psnr_db > 100


def test_attention_has_zero_points_and_scales_per_token(tiny: CustomTask, evaluator: Evaluator) -> None:
    assert export_task(tiny, assign(evaluator, "int8_zp", "fp8_e4m3:int8_token"), evaluator).psnr_db > 60
    assert export_task(tiny, assign(evaluator, "int8_token", "int4_zp:int8_zp"), evaluator).psnr_db > 60


def test_mixed_network_equals_the_evaluated_one(tiny: CustomTask, evaluator: Evaluator) -> None:
    mixed = assign(evaluator, "int8", "int4:fp8_e4m3", "mxfp6_e2m3:mxint8", "fp6_e3m2:fp16")
    assert export_task(tiny, mixed, evaluator).psnr_db > 60


def test_each_attention_operand_is_quantized(tiny: CustomTask, evaluator: Evaluator) -> None:
    """Coarse formats on one operand at a time must show in the output, and equally in both networks."""
    layers = dict(assign(evaluator, "fp32").layers)
    (attention,) = [layer for layer, kind in evaluator.layers.items() if kind == "attention"]
    (reference,) = evaluator.reference()
    for fields in ({"activation": "int2"}, {"key": "int2"}, {"value": "int2"}):
        formats = {"activation": "fp32", "key": "fp32", "value": "fp32"} | fields
        assignment = Assignment.of(layers | {attention: LayerFormats(**formats)})
        exported = export_task(tiny, assignment, evaluator)
        with torch.inference_mode():
            assert output_psnr_db(tiny.run(exported.network), reference) < 60
        assert exported.psnr_db > 60


def test_float_network_is_untouched(tiny: CustomTask, evaluator: Evaluator) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.module.state_dict().items()}
    kinds = {name: type(module) for name, module in tiny.module.named_modules()}
    export_task(tiny, assign(evaluator, "int4"), evaluator)
    assert {name: type(module) for name, module in tiny.module.named_modules()} == kinds
    assert all(torch.equal(tensor, before[name]) for name, tensor in tiny.module.state_dict().items())


def test_refusal_names_layer_and_format(tiny: CustomTask, evaluator: Evaluator) -> None:
    layers = dict(assign(evaluator, "int8").layers)
    layers["to_k"] = LayerFormats(activation="int4_g32", weight="int8")
    said = r"layer 'to_k': Brevitas has no format 'int4_g32' for an activation; it has .*int8_zp,.*mxfp4.*int8_token"
    with pytest.raises(InputError, match=said):
        export_task(tiny, Assignment.of(layers), evaluator)


def test_layer_without_a_counterpart_is_refused_by_name() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConvTranspose2d(4, 1, 3))
    images = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    task = CustomTask("transposed", module, images, images, None)
    with pytest.raises(InputError, match=r"layer '1'.*ConvTranspose2d"):
        export_task(task, assign(Evaluator(task), "int8"))


def test_operand_that_was_always_zero_stays_zero() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    zeros = torch.zeros(3, 4)
    nn.init.zeros_(module[0].bias)
    task = CustomTask("zero", module, zeros, zeros, None)
    assert export_task(task, assign(Evaluator(task), "int8")).psnr_db > 60


def test_written_network_is_read_again(study: Path, tiny: CustomTask, evaluator: Evaluator, tmp_path: Path) -> None:
    written = export_design(study, "daaaa1111", "brevitas", tmp_path / "out")
    facts = written["tasks"]["tiny"]
    assert facts["psnr_db"] > 60
    assert facts["layers"] == len(evaluator.layers)
    network = load_brevitas(facts["path"])
    assignment = assign(evaluator, *MIXED)
    with torch.inference_mode():
        assert output_psnr_db(tiny.run(network), evaluator.outputs(assignment)) > 60


@pytest.mark.slow
def test_weights_that_the_study_has_rounded_are_not_rounded_again(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = export_design(study, "daaaa1111", "brevitas", tmp_path / "one")["tasks"]["tiny"]["path"]
    monkeypatch.setattr("codesign.quality.rounding.chosen.rounded", lambda *_, **__: pytest.fail("rounded again"))
    again = export_design(study, "daaaa1111", "brevitas", tmp_path / "two")["tasks"]["tiny"]["path"]
    assert (Path(first) / "model.safetensors").read_bytes() == (Path(again) / "model.safetensors").read_bytes()


def test_weights_come_from_the_folder(study: Path, tiny: CustomTask, tmp_path: Path) -> None:
    """A network of the same shape with other weights must not leak into what is loaded."""
    import copy

    path = export_design(study, "daaaa1111", "brevitas", tmp_path / "out")["tasks"]["tiny"]["path"]
    other = copy.deepcopy(tiny.module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    with torch.inference_mode():
        assert output_psnr_db(tiny.run(load_brevitas(path, module=other)), tiny.run(load_brevitas(path))) > 60


def test_manifest_says_formats_ranges_and_versions(study: Path, evaluator: Evaluator, tmp_path: Path) -> None:
    path = Path(export_design(study, "daaaa1111", "brevitas", tmp_path / "out")["tasks"]["tiny"]["path"])
    manifest: dict[str, Any] = json.loads((path / "manifest.json").read_text())
    assert (manifest["design"], manifest["study"]) == ("daaaa1111", "small")
    assert set(manifest["formats"]) == set(evaluator.layers)
    assert manifest["brevitas"]
    for layer, operands in manifest["ranges"].items():
        for operand, amax in operands.items():
            formats = manifest["formats"][layer]
            fmt = get_format(formats[operand] if operand in ("key", "value") else formats["activation"])
            wanted = (amax[1] - amax[0]) / 255 if fmt.name == "int8_zp" else amax / fmt.max_value
            assert manifest["scales"][layer][operand] == pytest.approx(wanted)
    provenance = json.loads((path / "PROVENANCE.json").read_text())
    assert provenance["proof"]["sqnr_db"] > 60
    assert set(provenance["files"]) == {"manifest.json", "model.safetensors"}
    assert provenance["layers"]["conv"]["sha256"]["codes"]


def test_unknown_design_offers_the_nearest(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no design 'daaaa1112'; did you mean 'daaaa1111'"):
        export_design(study, "daaaa1112", "brevitas", tmp_path / "out")


def test_unsupported_design_writes_nothing(study: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"design 'dbbbb2222', tiny: layer '\w+': Brevitas has no format 'nvfp4'"):
        export_design(study, "dbbbb2222", "brevitas", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_network_that_differs_is_not_written(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bundle.operand_ranges

    def wrong(*args: Any) -> Any:
        return {
            layer: {name: amax if isinstance(amax, tuple) else amax * 1.3 for name, amax in named.items()}
            for layer, named in real(*args).items()
        }

    monkeypatch.setattr(bundle, "operand_ranges", wrong)
    with pytest.raises(CodesignError, match="differs from the measured one"):
        export_design(study, "daaaa1111", "brevitas", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_brevitas_says_what_to_install(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brevitas.nn", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'codesign\[brevitas\]'"):
        export_design(study, "daaaa1111", "brevitas", tmp_path / "out")


def test_broken_front_is_one_line(study: Path, tmp_path: Path) -> None:
    (study / "front.json").write_text("{broken")
    with pytest.raises(InputError, match=r"front\.json:1: broken JSON"):
        export_design(study, "daaaa1111", "brevitas", tmp_path / "out")


def test_broken_weights_are_one_line(study: Path, tmp_path: Path) -> None:
    path = Path(export_design(study, "daaaa1111", "brevitas", tmp_path / "out")["tasks"]["tiny"]["path"])
    (path / "model.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(InputError, match=r"model\.safetensors: does not fit"):
        load_brevitas(path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "pair"), [("restore", "int8"), ("rewrite", "fp8_e4m3")])
def test_bundled_network_equals_the_evaluated_one(name: str, pair: str) -> None:
    from codesign.models import load_task

    task = load_task(name)
    evaluator = Evaluator(task)
    assert export_task(task, assign(evaluator, pair), evaluator).psnr_db > 60
