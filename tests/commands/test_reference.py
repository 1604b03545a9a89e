"""``codesign reference``: a design as one folder, which is complete or absent and says what every file is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from codesign.cli import main
from codesign.commands import reference
from codesign.designs import load_study
from codesign.export.certificate import certify
from codesign.hardware import load_accelerator
from tests import ARRAY_SPACE
from tests.programs import needed

FEW = ["--samples", "8", "--tiles", "1"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    (folder / "space.yaml").write_text(ARRAY_SPACE)
    assert main(["search", str(folder / "space.yaml"), "--out", str(folder / "study"), "-q"]) == 0
    return folder / "study"


@pytest.fixture
def no_simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulations compile for seconds; the test that is marked slow runs them."""
    for module in (reference, certify):
        monkeypatch.setattr(module, "available", lambda _: False)


def an_earlier_one(folder: Path) -> None:
    folder.mkdir()
    (folder / "PROVENANCE.json").write_text(json.dumps({"to": "reference", "files": {"old.txt": {}}}))
    (folder / "old.txt").write_text("of an earlier reference, which is replaced")


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.usefixtures("no_simulator")
def test_the_folder_holds_network_formats_chip_verilog_certificate_and_report(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    an_earlier_one(out)
    assert main(["reference", str(study), "-o", str(out), *FEW, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["design"] == load_study(study).chosen.id
    assert files_of(out) == {*told["files"], "PROVENANCE.json"}
    parts = {"README.md", "chip.yaml", "space.yaml", "formats/tiny.json", "cost/tiny.json", "cost/tiny.csv"}
    parts |= {"rtl/array.v", "rtl/unit.v", "rtl/bench.v", "certificate/certificate.json", "report/report.html"}
    assert parts | {"networks/tiny/PROVENANCE.json"} <= set(told["files"])
    readme = (out / "README.md").read_text()
    for name, entry in told["files"].items():
        assert entry["sha256"] == hashlib.sha256((out / name).read_bytes()).hexdigest()
        assert f"| `{name}` | {entry['what']} |" in readme

    chip = load_study(study).chosen.accelerator.built()
    assert load_accelerator(out / "chip.yaml") == chip
    again = ["cost", "--workload", "python:tests.tiny:task", "--accelerator", str(out / "chip.yaml"), "--json"]
    assert main([*again, "--assignment", str(out / "formats" / "tiny.json")]) == 0
    written = json.loads((out / "cost" / "tiny.json").read_text())
    assert json.loads(capsys.readouterr().out).items() >= written.items()


def test_a_folder_with_files_of_somebody_else_is_refused_before_a_study_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    an_earlier_one(out)
    (out / "mine.txt").write_text("of somebody else")
    assert main(["reference", str(tmp_path / "none"), "-o", str(out), *FEW]) == 2
    assert "holds other files than an export (mine.txt)" in capsys.readouterr().err
    assert files_of(out) == {"PROVENANCE.json", "old.txt", "mine.txt"}


@pytest.mark.slow
@pytest.mark.usefixtures("no_simulator")
def test_nothing_is_written_if_the_array_differs_from_its_model(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(*_: object) -> dict[str, Any]:
        return {"wrong": [3]}

    monkeypatch.setattr(reference, "export_rtl", wrong)
    assert main(["reference", str(study), "-o", str(tmp_path / "out"), *FEW]) == 1
    assert "differs from its model" in capsys.readouterr().err
    assert files_of(tmp_path) == set()


@pytest.mark.slow
def test_its_array_is_simulated_and_its_certificate_can_be_checked(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    needed("iverilog")
    out = tmp_path / "out"
    assert main(["reference", str(study), "-o", str(out), *FEW]) == 0
    assert "rows of results of the bench agree in iverilog" in (out / "README.md").read_text()
    assert not (out / "rtl" / "bench.vvp").exists()
    assert main(["certify", str(study), "--check", str(out / "certificate" / "certificate.json")]) == 0
    assert "NOT EQUAL" not in capsys.readouterr().out
