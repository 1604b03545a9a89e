"""Every unit that was synthesised for a shipped library, and one array with its streams, under two linters.

Writes lint.json and lint.md beside itself: ``python reports/validation/lint.py``. Takes some ten minutes.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

from bit_exact import units

from codesign.formats import FormatPair
from codesign.hardware.rtl.emit.array import array
from codesign.hardware.rtl.emit.array_stream import array_stream
from codesign.hardware.rtl.emit.stream import header, stream
from codesign.hardware.rtl.emit.unit import Unit, build
from codesign.hardware.rtl.verify.simulate import version

LIBRARIES = ("asap7", "sg13g2", "osu018")
HERE = Path(__file__).parent
ARRAY = Unit((FormatPair("int8", "int8"), FormatPair("mxfp4", "mxfp4")), "auto", 8, frozenset({"align", "fp_add"}))
_WARNING = re.compile(r"^%(?:Warning|Error)-?\w*", re.MULTILINE)


def complaints(files: dict[str, str], top: str, folder: Path) -> list[str]:
    """What both tools say of Verilog files; empty if nothing."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = [name for name in files if name.endswith(".v")]
    script = f"read_verilog {' '.join(sources)}; hierarchy -check -top {top}; proc; check -assert"
    found = []
    for command in (
        ["verilator", "--lint-only", "-Wall", "--top-module", top, *sources],
        ["yosys", "-q", "-p", script],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        if done.returncode or "Warning" in said:
            found.append(f"{command[0]}: {(_WARNING.search(said) or [said[-200:]])[0]}")
    return found


def main() -> None:
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for unit in units(LIBRARIES).values():
            rows[unit.name] = complaints({"unit.v": build(unit).text}, "unit", folder)
            built = build(unit, enable=True)
            wrapped = {"unit.v": built.text, "unit_stream.v": stream(built, "unit")}
            wrapped["unit_params.vh"] = header(built, "unit")
            rows[f"{unit.name}, stream"] = complaints(wrapped, "unit_stream", folder)
        for dataflow in ("output", "weight"):
            for enable in (False, True):
                made = array(ARRAY, 4, 3, dataflow, enable)
                top, text = ("array_stream", made.text + array_stream(made)) if enable else ("array", made.text)
                modules = [made.built.text, *re.split(r"(?=^module )", text, flags=re.MULTILINE)[1:]]
                files = {f"{text.split()[1]}.v": text for text in modules}  # each begins with: module NAME
                name = f"4 x 3 {ARRAY.name}, {dataflow}-stationary" + (", streams" if enable else "")
                rows[name] = complaints(files, top, folder)
    tools = [version(tool) for tool in ("verilator", "yosys")]
    (HERE / "lint.json").write_text(json.dumps({"tools": tools, "complaints": rows}, indent=1) + "\n")
    bad = {name: said for name, said in rows.items() if said}
    lines = [
        "# Generated Verilog under two linters",
        "",
        "Written by `python reports/validation/lint.py`.",
        "",
        f"{tools[0]}, `--lint-only -Wall`, no warning switched off; {tools[1]}, `proc; check -assert`.",
        f"The distinct units of the calibration grids of {', '.join(LIBRARIES)}, pipelined for both clocks of each: as",
        "they are priced, and with their enables in the stream wrapper. And one array in both dataflows, each with and",
        "without streams (its modules in files of their own names):",
        f"{len(rows)} designs, {len(bad)} with a complaint.",
        "",
        *(f"- {name}: {'; '.join(said)}" for name, said in bad.items()),
    ]
    (HERE / "lint.md").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
