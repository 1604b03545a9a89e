"""``codesign certify``: a network in its unit's arithmetic, and a record that another machine can check."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load, save
from torch import Tensor, nn

from codesign.cli import main
from codesign.export.certificate.certify import DRAWN, TILES, Options, certify_design
from codesign.export.certificate.check import check_certificate
from codesign.export.certificate.network import UnitNetwork
from codesign.export.certificate.record import CERTIFICATE, Certificate
from codesign.export.certificate.tiles import sha256
from codesign.export.certificate.vector import rounded as to_bfloat16
from codesign.export.scored import ScoredNetwork
from codesign.export.study import read_design
from codesign.formats import Assignment, FormatPair
from codesign.hardware.rtl.emit.unit import Unit
from codesign.models import load_task
from codesign.models.custom import CustomTask
from codesign.quality import Evaluator
from tests import tiny
from tests.conftest import make_tiny_task
from tests.designs import CHIP, design, write_front
from tests.programs import needed

TASK = "python:tests.tiny:task"
SPACE = f"""
name: small
tasks: {{tiny: {{task: "{TASK}", ranges: minmax}}}}
pairs: [int8, fp8_e4m3]
hardware: {{units: {{sets: [[int8, fp8_e4m3]]}}, rows: [8], columns: [8], sram_kib: [1024]}}
objectives: [tiny.quality, area_mm2]
"""
MIXED, LOSSY = "d00000001", "d00000002"
PAIRS = ["int8:int8", "fp8_e4m3:fp8_e4m3"]
FLOAT = Options(samples=16, tiles=1, vector="float", simulators=())


def quiet(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixed design on a unit that loses next to nothing, and the same on one that adds in fp16."""
    task = load_task(TASK)
    kinds = task.workload().layer_kinds()
    pairs = {layer: FormatPair.parse("fp8_e4m3" if layer in ("to_q", "conv") else "int8") for layer in kinds}
    layers = {"tiny": Assignment.of_pairs(pairs, kinds).to_dict()}
    chips = [CHIP | {"pairs": PAIRS, "dot": 4, "accumulator": accumulator} for accumulator in ("auto", "fp16")]
    designs = [design(name, layers, chip) for name, chip in zip((MIXED, LOSSY), chips, strict=True)]
    return write_front(tmp_path_factory.mktemp("certify") / "study", designs, SPACE)


@pytest.fixture(scope="module")
def certified(study: Path) -> Certificate:
    return certify_design(read_design(study, MIXED), study.parent / "mixed", FLOAT, quiet)


def checked(study: Path, path: Path) -> dict[str, bool]:
    return {each.what: each.equal for each in check_certificate(study, path / CERTIFICATE, quiet, ())}


def test_wide_sums_give_the_quality_that_was_scored(study: Path, certified: Certificate) -> None:
    task = certified.tasks["tiny"]
    (metric,) = task.metrics
    assert (task.samples, task.all_samples, metric.scored.n) == (16, 48, 16)
    assert metric.difference == metric.certified.value - metric.scored.value
    assert abs(metric.difference) < 0.1  # decades, of what formats cost
    assert metric.difference_low <= metric.difference <= metric.difference_high
    assert {(tile.kind, tile.mode) for tile in task.tiles} == {
        ("conv", PAIRS[1]), ("linear", PAIRS[0]), ("linear", PAIRS[1]), ("attention_qk", PAIRS[0]),
        ("attention_pv", PAIRS[0]),
    }  # fmt: skip
    assert certified.wrong == 0


def test_a_narrow_accumulator_gives_another_quality_than_was_scored(study: Path, certified: Certificate) -> None:
    lossy = certify_design(read_design(study, LOSSY), study.parent / "lossy", FLOAT, quiet).tasks["tiny"].metrics[0]
    assert lossy.scored == certified.tasks["tiny"].metrics[0].scored
    assert lossy.difference > 10 * abs(certified.tasks["tiny"].metrics[0].difference)
    assert lossy.difference_low > 0


def test_a_bf16_vector_unit_costs_quality(study: Path, certified: Certificate) -> None:
    options = Options(samples=16, tiles=1, simulators=())
    rounded = certify_design(read_design(study, MIXED), study.parent / "bf16", options, quiet)
    assert rounded.vector == "bf16"
    assert rounded.tasks["tiny"].certified.sha256 != certified.tasks["tiny"].certified.sha256


def test_an_unchanged_certificate_is_equal(study: Path, certified: Certificate) -> None:
    found = checked(study, study.parent / "mixed")
    assert all(found.values())
    assert {"design", "Verilog sources", "tiny: tiles in the twin", "tiny: outputs of drawn samples"} <= found.keys()


def test_a_flipped_bit_of_a_result_is_found(study: Path, certified: Certificate, tmp_path: Path) -> None:
    stored = load((study.parent / "mixed" / TILES).read_bytes())
    results = stored["tiny.0.results"].copy()
    results.view(np.int64)[0, 0] ^= 1
    changed = save(stored | {"tiny.0.results": results})
    record = json.loads((study.parent / "mixed" / CERTIFICATE).read_text())
    record["files"][TILES] = hashlib.sha256(changed).hexdigest()
    for name in record["files"]:
        (tmp_path / name).write_bytes((study.parent / "mixed" / name).read_bytes())
    (tmp_path / TILES).write_bytes(changed)
    (tmp_path / CERTIFICATE).write_text(json.dumps(record))
    found = checked(study, tmp_path)
    assert not found["tiny: tiles in the twin"]
    assert not found["tiny: operands and results of tiles"]
    assert found["tiny: formats, codes and scales"]


def changed(study: Path, folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """A certificate whose record, and drawn outputs, somebody edited with the hashes of its files."""
    for name in (TILES, DRAWN):
        (folder / name).write_bytes((study.parent / "mixed" / name).read_bytes())
    record = json.loads((study.parent / "mixed" / CERTIFICATE).read_text())
    outputs = load((folder / DRAWN).read_bytes())
    change(record, outputs)
    (folder / DRAWN).write_bytes(save(outputs))
    record["files"][DRAWN] = hashlib.sha256((folder / DRAWN).read_bytes()).hexdigest()
    (folder / CERTIFICATE).write_text(json.dumps(record))
    return folder


def test_an_edited_quality_or_unit_is_found(study: Path, certified: Certificate, tmp_path: Path) -> None:
    def change(record: dict[str, Any], _: object) -> None:
        record["tasks"]["tiny"]["metrics"][0]["certified"]["value"] -= 0.5

    found = checked(study, changed(study, tmp_path, change))
    assert [what for what, equal in found.items() if not equal] == ["tiny: differences of qualities"]
    found = checked(study, changed(study, tmp_path, lambda record, _: record.update(accumulator="fp16")))
    assert [what for what, equal in found.items() if not equal] == ["unit"]


def test_samples_that_the_seed_does_not_draw_are_found(study: Path, certified: Certificate, tmp_path: Path) -> None:
    def change(record: dict[str, Any], _: object) -> None:
        record["tasks"]["tiny"]["drawn"]["rows"] = [0]

    assert not checked(study, changed(study, tmp_path, change))["tiny: draw of samples"]


def test_outputs_of_another_machine_are_those_of_its_record(
    study: Path, certified: Certificate, tmp_path: Path
) -> None:
    def change(record: dict[str, Any], outputs: dict[str, Any], far: bool = False) -> None:
        record["machine"] = "another"
        ((name, x),) = outputs.items()
        outputs[name] = np.nextafter(x, np.float32(1)) + np.float32(far)
        key = name.removeprefix("tiny.")
        record["tasks"]["tiny"]["drawn"]["sha256"][key] = sha256(outputs[name])

    def unsaid(record: dict[str, Any], outputs: dict[str, Any]) -> None:
        change(record, outputs)
        record["tasks"]["tiny"]["drawn"]["sha256"] = {}
        outputs.clear()

    def replaced(record: dict[str, Any], outputs: dict[str, Any]) -> None:
        change(record, outputs)
        outputs.update({name: np.nextafter(x, np.float32(1)) for name, x in outputs.items()})

    changes = {change: True, partial(change, far=True): False, unsaid: False, replaced: False}
    for each, equal in changes.items():
        assert checked(study, changed(study, tmp_path, each))["tiny: outputs of drawn samples"] is equal


def test_a_changed_weight_is_found(study: Path, certified: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed() -> tuple[Any, Any, Any, None]:
        made = make_tiny_task()
        with torch.no_grad():
            made.module.to_v.weight[3, 5] += 0.1
        return made.module, made._calibration, made._evaluation, None

    monkeypatch.setattr(tiny, "task", changed)
    found = checked(study, study.parent / "mixed")
    assert not found["tiny: formats, codes and scales"]
    assert not found["tiny: network and data"]
    assert not found["tiny: outputs of drawn samples"]
    assert found["tiny: tiles in the twin"]  # which were drawn before


def test_the_command_certifies_and_checks(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("iverilog")
    monkeypatch.setattr("codesign.export.certificate.certify.available", lambda name: name == "iverilog")
    out = tmp_path / "out"
    options = ["--design", MIXED, "--samples", "4", "--tiles", "1", "-o", str(out), "--json"]
    assert main(["certify", str(study), *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["wrong"] == 0
    (simulation,) = printed["simulations"]
    assert (simulation["simulator"], simulation["tiles"], simulation["wrong"]) == ("iverilog", 5, 0)
    assert simulation["compared"] >= 5
    assert printed["simulators"]["verilator"] == "not installed"
    record = out / CERTIFICATE
    record.write_text(record.read_text().replace(printed["design_sha256"], "0" * 64))
    assert main(["certify", str(study), "--check", str(record), "--json"]) == 1
    assert "not equal: design" in capsys.readouterr().err


class Added(nn.Module):
    """A layer as addmm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(48, 6)), nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight, beta=0.5, alpha=2)


class Summed(nn.Module):
    """A layer as an einsum, with its result transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 48))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btk,nk->bnt", x, self.weight)


class Grouped(nn.Module):
    """Queries that share keys, and a scale."""

    def forward(self, x: Tensor) -> Tensor:
        q = x.reshape(len(x), 4, 6, 40)
        return F.scaled_dot_product_attention(q, q[:, :2], q[:, 2:], is_causal=True, scale=0.3, enable_gqa=True)


IMAGE, LINE = (3, 64, 7, 6), (3, 64, 9)
ONE_LAYER = [
    ("int8", nn.Conv2d(64, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), IMAGE),
    ("int8_zp:int8_zp", nn.Conv2d(64, 8, 3, padding="same", groups=4), IMAGE),
    ("mxfp8_e4m3", nn.Conv2d(64, 8, 3, padding=1, groups=2, bias=False), IMAGE),
    ("mxfp4", nn.Conv2d(64, 64, 3, padding=1, groups=64), IMAGE),
    ("fp8_e4m3:fp8_e4m3_token", nn.Conv1d(64, 5, 3), LINE),
    ("nvfp4", nn.Conv2d(64, 5, 3, padding=2), IMAGE),
    ("int8", nn.ConvTranspose2d(64, 6, 3, stride=2, padding=1, output_padding=1, groups=2), IMAGE),
    ("mxfp8_e4m3", nn.ConvTranspose1d(64, 6, 3, stride=2), LINE),
    ("int4_g32:int8_token", nn.Linear(48, 6), (3, 5, 48)),
    ("int8:int8_zp", Added(), (5, 48)),
    ("mxfp8_e4m3", Summed(), (3, 5, 48)),
    ("nvfp4", Grouped(), (2, 4, 6, 40)),
    ("int8_token", Grouped(), (2, 4, 6, 40)),
]


@pytest.mark.parametrize(("pair", "module", "shape"), ONE_LAYER, ids=lambda x: getattr(x, "_get_name", lambda: x)())
def test_every_kind_of_layer_computes_what_was_scored(pair: str, module: nn.Module, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    task = CustomTask("one", module, x, x, None)
    evaluator = Evaluator(task, ranges="minmax")
    assignment = Assignment.uniform(task.workload(), pair)
    pairs = {formats.pair(kind).datapath for _, formats in assignment.layers for kind in _kinds(formats.weight)}
    network = UnitNetwork(ScoredNetwork(task, assignment, evaluator), Unit(tuple(pairs), "auto", 4), "float")
    with torch.no_grad(), evaluator.network.under(assignment):
        scored = module(x)
    with torch.no_grad(), network.under():
        found = module(x)
    assert found.shape == scored.shape
    noise = float((found - scored).abs().max() / scored.abs().max())
    # a probability that is rounded the other way moves an attention by a step of its format
    assert noise < (2e-2 if isinstance(module, Grouped) else 3e-6)
    assert not torch.equal(scored, module(x))


def _kinds(weight: str | None) -> tuple[str, ...]:
    return ("linear",) if weight is not None else ("attention_qk", "attention_pv")


class Timed(nn.Module):
    """Sinusoids of a time step, a layer, and vector work behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.table = nn.Linear(32, 8), torch.empty(0)

    def forward(self, t: Tensor) -> Tensor:
        self.table = torch.sin(1000 * t[:, None] * torch.linspace(0, 1, 32))
        y = self.layer(self.table)
        y += y.softmax(-1).sqrt()
        return y[:, :3]


def test_the_vector_unit_rounds_what_depends_on_a_product_and_no_table() -> None:
    t = torch.rand(5, generator=torch.Generator().manual_seed(0))
    module = Timed()
    task = CustomTask("timed", module, t, t, None)
    assignment = Assignment.uniform(task.workload(), "int8")
    scored = ScoredNetwork(task, assignment, Evaluator(task, ranges="minmax"))
    network = UnitNetwork(scored, Unit((FormatPair("int8", "int8"),), "auto", 4))
    with torch.no_grad():
        module(t)
        table = module.table
        with network.under():
            found = module(t)
            outside = found * (1 / 3)
    assert torch.equal(module.table, table)
    assert torch.equal(found, found.to(torch.bfloat16).float())
    assert not torch.equal(outside, outside.to(torch.bfloat16).float())


def test_the_vector_unit_keeps_finite_numbers_finite() -> None:
    x = torch.tensor([torch.finfo(torch.float32).min, float("-inf"), 1.00390625, 3.0])
    assert to_bfloat16(x).tolist() == [-torch.finfo(torch.bfloat16).max, float("-inf"), 1.0, 3.0]
