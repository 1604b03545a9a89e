"""``codesign init`` writes a space file that loads, says what each key means, and leaves nothing where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from codesign.cli import main

TINY = "python:tests.tiny:task"


def test_the_file_loads_and_its_study_is_of_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "space.yaml"
    assert main(["init", "--task", TINY, "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["layers"] == {"task": 6}
    assert main(["validate", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accelerators"] == said["accelerators"]


def test_every_key_has_a_comment(tmp_path: Path) -> None:
    out = tmp_path / "space.yaml"
    assert main(["init", "--task", TINY, "-o", str(out), "--quiet"]) == 0
    text = out.read_text()
    for key in yaml.safe_load(text):
        before = text[: text.index(f"\n{key}:")].splitlines()[-1]
        line = next(line for line in text.splitlines() if line.startswith(f"{key}:"))
        assert "#" in before + line or key in ("tasks", "search"), key
    assert text.count("#") > 25


def test_an_editor_finds_the_schema_of_the_file(tmp_path: Path) -> None:
    out = tmp_path / "space.yaml"
    assert main(["init", "--task", TINY, "-o", str(out), "--quiet"]) == 0
    schema = Path(out.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema="))
    jsonschema.validate(yaml.safe_load(out.read_text()), json.loads(schema.read_text()))


def test_a_network_that_decodes_is_timed_by_the_token(tmp_path: Path) -> None:
    out = tmp_path / "space.yaml"
    assert main(["init", "--task", "rewrite", "-o", str(out), "--quiet"]) == 0
    assert "rewrite.latency_per_token_s" in yaml.safe_load(out.read_text())["objectives"]


def test_a_file_that_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "space.yaml"
    out.write_text("mine")
    assert main(["init", "--task", TINY, "-o", str(out)]) == 2
    assert "it exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_paths_are_named_from_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codesign.commands.init import _from
    from codesign.commands.init import _written as written
    from codesign.models import TaskOptions

    monkeypatch.chdir(tmp_path)
    out = Path("spaces/mine.yaml")
    assert _from(out, "transformers:models/smollm2") == "transformers:../models/smollm2"
    assert _from(out, "transformers:/models/smollm2") == "transformers:/models/smollm2"
    assert _from(out, TINY) == TINY
    assert written(TaskOptions(data="text.txt", length=128), out) == {"data": "../text.txt", "length": 128}
