"""Exports by name: ours, and one that an installed package adds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from codesign.cli import main
from tests.designs import design, write_front
from tests.packages import install_package

MODULE = """
from codesign.designs.folder import load_front


def shopping_list(study_dir, design_id, out_dir):
    chip = load_front(study_dir).design(design_id).accelerator
    out_dir.mkdir()
    (out_dir / "list.txt").write_text(f"{chip.rows} x {chip.columns} units")
    return {"path": str(out_dir / "list.txt")}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study, and a package from outside as pip leaves it in site-packages."""
    site = tmp_path / "site"
    install_package(site, "shopping", MODULE, "[codesign.exporters]\nshopping = shopping:shopping_list\n")
    monkeypatch.syspath_prepend(site)
    layers = {"net": {"a": {"weight": "int8", "activation": "int8"}}}
    return write_front(tmp_path / "study", [design("d00000001", layers)], "name: small\n")


def test_an_installed_package_adds_an_export(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["export", str(study), "--design", "d00000001", "--to", "shopping", "-o", str(tmp_path / "out")]
    assert main([*asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"to": "shopping", "path": str(tmp_path / "out" / "list.txt")}
    assert (tmp_path / "out" / "list.txt").read_text() == "8 x 8 units"


def test_an_unknown_export_offers_the_nearest(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, right in (("brevita", "brevitas"), ("shoping", "shopping")):
        asked = ["export", str(study), "--design", "d00000001", "--to", wrong, "-o", str(tmp_path / "out")]
        assert main(asked) == 2
        assert f"unknown export '{wrong}'; did you mean '{right}'" in capsys.readouterr().err
