"""The good files that the cases change: spaces, an accelerator, an assignment, rules, a study."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from codesign.cli import main
from tests import SPACE

FIXED = """\
name: fixed
tasks:
  text: {workload: clip-l-text, formats: [int8, mxfp4]}
hardware:
  units: {sets: [[int8], [mxfp4]]}
  rows: [16]
  columns: [16]
  sram_kib: [512]
objectives: [area_mm2, latency_s]
"""
CHIP = """\
name: small
pairs: [int8, mxfp4]
dot: 16
rows: 8
columns: 8
sram_kib: 256
dram: lpddr5x_8533
dram_channels: 1
clock_mhz: 1000
node_nm: 7
"""
RULES = """\
rules:
  attention: int8
default: mxfp4
"""
LIBRARY = "library (tiny) {\n  cell (AND) { area : 1.0; }\n}\n"
_PLACEHOLDERS = {
    "{deep}": "[" * 3000 + "]" * 3000,
    "{digits}": "9" * 5000,
    "{numbers}": ",".join(map(str, range(1, 151))),
    "{many}": "[" + ", ".join(str(n) for n in range(1, 1001)) + "]",
}


def make_base(folder: Path) -> None:
    """Write the good files, and search the study of the tiny network."""
    for name, text in {"space": SPACE.lstrip(), "fixed": FIXED, "chip": CHIP, "rules": RULES}.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "cells.lib").write_text(LIBRARY)
    assert main(["search", str(folder / "space.yaml"), "--out", str(folder / "study")]) == 0
    for beside in ("evaluations", "artifacts"):
        shutil.rmtree(folder / "study" / beside, ignore_errors=True)
    front = json.loads((folder / "study" / "front.json").read_text())
    (folder / "assignment.json").write_text(json.dumps(front["designs"][0]["assignments"]["tiny"], indent=1))


def write_case(base: Path, folder: Path, case: dict[str, Any]) -> list[str]:
    """A copy of the good files with the case's changes; returns its command line."""
    shutil.copytree(base, folder, dirs_exist_ok=True)
    design = json.loads((base / "study" / "front.json").read_text())["designs"][0]["id"]
    for name, content in case.get("files", {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else _filled(content).encode())
    for name, (old, new) in case.get("edit", {}).items():
        text = (folder / name).read_text()
        assert old in text, f"{case['name']}: '{old}' is not in {name}"
        (folder / name).write_text(text.replace(old, _filled(new)))
    for name, changes in case.get("set", {}).items():
        _change(folder / name, {path: (value,) for path, value in changes.items()})
    for name, paths in case.get("drop", {}).items():
        _change(folder / name, dict.fromkeys(paths, ()))
    return [_filled(word).replace("{design}", design) for word in _words(case["run"])]


def _words(line: str) -> list[str]:
    """The words of a command line, some in quotes."""
    return [word[1:-1] if word[:1] == "'" else word for word in re.findall(r"'[^']*'|\S+", line)]


def _filled(text: str) -> str:
    for mark, value in _PLACEHOLDERS.items():
        text = text.replace(mark, value)
    return text


def _change(path: Path, changes: dict[str, tuple[Any, ...]]) -> None:
    """Set values of a JSON file, or delete those without a new value; a path is keys and indices between slashes."""
    data = json.loads(path.read_text())
    for place, value in changes.items():
        *parents, last = (int(key) if key.isdigit() else key for key in place.split("/"))
        inner = data
        for key in parents:
            inner = inner[key]
        if value:
            inner[last] = value[0]
        else:
            del inner[last]
    path.write_text(json.dumps(data, indent=1))
