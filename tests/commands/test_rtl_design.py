"""``codesign rtl STUDY --design ID``: the array of a design, checked on its own layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from codesign.cli import main
from codesign.export import rtl as export
from codesign.folders import MARK
from codesign.formats import FormatPair, LayerFormats, get_format
from codesign.models import load_task
from codesign.quality.ranges import Ranges
from codesign.quality.rounding import ChosenWeights
from tests import ARRAY_SPACE
from tests.designs import design, write_front
from tests.programs import needed

KINDS = {"conv": "conv", "to_q": "linear", "to_k": "linear", "to_v": "linear", "head": "linear"}
CHIP = {
    "name": "grid-0",
    "pairs": ["int8:int8", "mxfp4:mxfp4", "fp8_e4m3:fp8_e4m3"],
    "accumulator": "auto",
    "dot": 4,
    "rows": 4,
    "columns": 2,
    "sram_bytes": 4096,
    "dram": "lpddr5x_8533",
    "dram_channels": 1,
    "clock_hz": 1e9,
    "node_nm": 7,
}
FILES = {"array.v", "array_stream.v", "unit.v", "checks.v", "bench.v", "main.cpp", "README.txt", "layer.json"}


def assigned(**other: str) -> dict[str, dict[str, str]]:
    """int8 in every layer but those named."""
    pairs = dict.fromkeys(KINDS, "int8") | other
    layers = {
        layer: LayerFormats.of_pair(FormatPair.parse(pair), attention=False).to_dict() for layer, pair in pairs.items()
    }
    workload = load_task("python:tests.tiny:task").workload()
    (attention,) = set(workload.layers) - set(KINDS)
    return layers | {attention: LayerFormats.of_pair(FormatPair.parse("int8"), attention=True).to_dict()}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study folder with a design in two formats on a chip of three, and one that its chip cannot run."""
    folder = tmp_path_factory.mktemp("study")
    designs: list[dict[str, Any]] = [
        design("d00000001", {"tiny": assigned(to_q="mxfp4 + gptq", head="mxfp4")}, CHIP),
        design("d00000002", {"tiny": assigned(head="mxfp8_e4m3")}, CHIP),
        design("d00000003", {"tiny": assigned()}, CHIP | {"accumulator": "int3"}),
    ]
    return write_front(folder, designs, ARRAY_SPACE)


def simulator() -> str:
    needed("iverilog")
    return "iverilog"


@pytest.mark.slow
@pytest.mark.parametrize("dataflow", ["output", "weight"])
def test_a_design_comes_out_as_an_array_that_passes_on_its_own_layers(
    dataflow: str, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ["--design", "d00000001", "--dataflow", dataflow, "-o", str(out), "--check", simulator(), "--json"]
    assert main(["rtl", str(study), *asked]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["wrong"] == [0] * (2 + 3)  # layers, and the streams in every mode of the chip
    assert result["dataflow"] == dataflow
    assert (result["rows"], result["columns"], result["corner"]) == (4, 2, [3, 2])
    assert {path.name for path in out.iterdir()} >= FILES | {"vectors_0.hex", "vectors_1.hex", "vectors_s_2.hex"}
    assert "parameter ROWS = 4, parameter COLUMNS = 2" in (out / "array.v").read_text()
    assert json.loads((out / "layer.json").read_text())["layers"] == result["layers"]


def test_each_format_pair_is_checked_on_its_layer_with_most_macs(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rtl", str(study), "--design", "d00000001", "-o", str(tmp_path / "out"), "--json"]) == 0
    layers = {layer["pair"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert set(layers) == {"int8:int8", "mxfp4:mxfp4+gptq"}  # the chip runs fp8_e4m3 as well, the design does not
    assert layers["int8:int8"]["kind"].startswith("attention")
    rounded = layers["mxfp4:mxfp4+gptq"]
    assert rounded["layer"] == "to_q"
    assert rounded["streamed"] == rounded["stationary"] == [16, 1, 32]


def test_operands_are_quantized_with_the_ranges_that_quality_uses(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    make = export.Matrices.of
    monkeypatch.setattr(export.Matrices, "of", lambda *a: seen.append(a[-1]) or make(*a))
    read = json.loads((study / "front.json").read_text())
    read["designs"][0]["assignments"]["tiny"] = assigned(to_q="mxfp4", to_k="mxfp4") | {
        name: {"activation": "mxfp4", "key": "mxfp4", "value": "mxfp4"} for name in set(assigned()) - set(KINDS)
    }
    (tmp_path / "front.json").write_text(json.dumps(read))
    (tmp_path / "space.yaml").write_text(ARRAY_SPACE)
    facts = export.export_rtl(tmp_path, "d00000001", tmp_path / "out")
    assert [layer["layer"] for layer in facts["layers"]] == ["to_v", *set(assigned()) - set(KINDS)]
    ranges = Ranges(load_task("python:tests.tiny:task"))
    assert seen == [(None, ranges.get(("to_v", "input"), get_format("int8"))), (None, None)]


def test_the_codes_of_a_weight_rounded_by_a_method_are_those_that_quality_uses(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(export.Matrices, "of", lambda *a, make=export.Matrices.of: seen.append(make(*a)) or seen[-1])
    export.export_rtl(study, "d00000001", tmp_path / "out")
    task = load_task("python:tests.tiny:task")
    codes = ChosenWeights(task).of_layer("to_q", get_format("mxfp4"), "gptq").codes.view(-1, 32) & 15
    nearest = get_format("mxfp4").quantize(task.module.to_q.weight.detach(), axis=-1).codes & 15
    sampled = torch.linspace(0, len(codes) - 1, 16).long()
    found = torch.from_numpy(seen[1].weight).permute(2, 0, 1).reshape(16, 32)  # [N, steps of 4 products]
    assert torch.equal(found, codes[sampled].long())
    assert not torch.equal(found, nearest[sampled].long())


def test_a_format_per_token_is_checked_in_the_mode_of_the_plain_format(study: Path, tmp_path: Path) -> None:
    read = json.loads((study / "front.json").read_text())
    read["designs"][0]["assignments"]["tiny"] = {
        layer: formats | {"activation": "int8_token"} for layer, formats in assigned().items()
    }
    (tmp_path / "front.json").write_text(json.dumps(read))
    (tmp_path / "space.yaml").write_text(ARRAY_SPACE)
    facts = export.export_rtl(tmp_path, "d00000001", tmp_path / "out")
    assert [layer["pair"] for layer in facts["layers"]] == ["int8:int8_token"]
    assert "int8:int8" in facts["modes"]


def test_export_writes_the_same_files(study: Path, tmp_path: Path) -> None:
    assert main(["rtl", str(study), "--design", "d00000001", "-o", str(tmp_path / "a")]) == 0
    assert main(["export", str(study), "--design", "d00000001", "--to", "rtl", "-o", str(tmp_path / "b")]) == 0
    written = ((path for path in (tmp_path / name).iterdir() if path.name != MARK) for name in "ab")
    first, second = ({path.name: path.read_text() for path in paths} for paths in written)
    assert first == second
    assert set(first) >= FILES


@pytest.mark.slow
def test_an_array_that_differs_from_its_model_is_exit_code_1(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = export.array

    def broken(*arguments: Any, **options: Any) -> Any:
        made = honest(*arguments, **options)
        object.__setattr__(made, "text", made.text.replace(".CLOCKS(c)", ".CLOCKS(0)"))
        return made

    monkeypatch.setattr(export, "array", broken)
    asked = ["rtl", str(study), "--design", "d00000001", "-o", str(tmp_path / "out"), "--check", simulator()]
    assert main(asked) == 1
    assert "the array of d00000001 differs from its model" in capsys.readouterr().err


MISTAKES = {
    "unknown design": (["{study}", "--design", "d00000011"], "no design 'd00000011'; did you mean 'd00000001'?"),
    "no study": (["{empty}", "--design", "d00000001"], "is no study folder: it has no front.json"),
    "no folder": (["int8", "--design", "d00000001"], "--design takes a study folder, and int8 is none"),
    "two arguments": (["{study}", "int8", "--design", "d00000001"], "one study folder, not 2 arguments"),
    "study without a design": (["{study}"], "name a design of its front.json with --design ID"),
    "dataflow of a unit": (["int8", "--dataflow", "weight"], "--dataflow goes with a study and --design ID"),
    "options of a unit": (["{study}", "--design", "d00000001", "--dot", "8"], "--dot goes with format pairs"),
    "pair that the chip lacks": (["{study}", "--design", "d00000002"], "does not support mxfp8_e4m3:mxfp8_e4m3"),
    "no accelerator": (["{study}", "--design", "d00000003"], "has no chip that can be built"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(
    mistake: str, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    arguments, message = MISTAKES[mistake]
    places = {"study": study, "empty": tmp_path / "empty"}
    assert main(["rtl", *(text.format(**places) for text in arguments), "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_named_like_a_format_does_not_hide_the_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "int4").mkdir()
    assert main(["rtl", "int4", "-o", "out", "--vectors", "8"]) == 0


@pytest.mark.slow
def test_a_design_of_a_real_search_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.yaml").write_text(ARRAY_SPACE)
    study, out = tmp_path / "study", tmp_path / "out"
    assert main(["search", str(tmp_path / "space.yaml"), "--out", str(study)]) == 0
    design = json.loads((study / "front.json").read_text())["designs"][0]["id"]
    capsys.readouterr()
    asked = ["--design", design, "-o", str(out), "--check", simulator(), "--json"]
    assert main(["rtl", str(study), *asked]) == 0
    assert set(json.loads(capsys.readouterr().out)["wrong"]) == {0}
