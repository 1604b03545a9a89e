"""Generated Verilog is clean under verilator -Wall and yosys check; reports/validation/lint.py lints the whole grid."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from codesign.formats import FormatPair
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.analyse.parts import bill_of_materials
from codesign.hardware.rtl.emit.array import array
from codesign.hardware.rtl.emit.array_stream import array_stream
from codesign.hardware.rtl.emit.pipeline import STEPS
from codesign.hardware.rtl.emit.stream import header, stream
from tests.programs import needed

EVERY_STEP = frozenset(STEPS)
UNITS = {
    "float loop": Unit((FormatPair.parse("nvfp4"),), "fp32", 32, EVERY_STEP),
    "bricks": Unit((FormatPair("int8", "int8"), FormatPair("int4", "int4")), "auto", 2, rates=(1, 4)),
    "slots": Unit((FormatPair("fp16", "fp16"), FormatPair("fp8_e4m3", "fp8_e4m3")), "fp16", 2, EVERY_STEP, (1, 2)),
    "two sums": Unit((FormatPair("fp8_e4m3", "fp8_e4m3"), FormatPair("fp4_e2m1", "fp4_e2m1")), "auto", 2, rates=(1, 2)),
    "saturating": Unit((FormatPair("int8", "int8"), FormatPair("fp8_e4m3", "fp8_e4m3")), "exact48_sat", 2),
}


def run(*command: str, folder: Path) -> str:
    needed(command[0])
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_and_its_stream_pass_without_a_warning(name: str, tmp_path: Path) -> None:
    built = build(UNITS[name], enable=True)
    files = {"unit.v": built.text, "unit_stream.v": stream(built, "unit"), "unit_params.vh": header(built, "unit")}
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    sources = ["unit_stream.v", "unit.v"]
    top = ["--top-module", "unit_stream", "--assert", "-DUNIT_ASSERTIONS"]
    assert run("verilator", "--lint-only", "-Wall", *top, *sources, folder=tmp_path) == ""
    script = f"read_verilog {' '.join(sources)}; hierarchy -check -top unit_stream; proc; check -assert"
    assert run("yosys", "-q", "-p", script, folder=tmp_path) == ""


@pytest.mark.parametrize("dataflow", ["output", "weight"])
def test_an_array_passes_without_a_warning(dataflow: str, tmp_path: Path) -> None:
    made = array(UNITS["bricks"].cut(EVERY_STEP), 3, 2, dataflow)
    texts = [made.built.text, *re.split(r"(?=^module )", made.text, flags=re.MULTILINE)[1:]]
    files = [f"{text.split()[1]}.v" for text in texts]  # each begins with: module NAME
    for file, text in zip(files, texts, strict=True):
        (tmp_path / file).write_text(text)
    assert run("verilator", "--lint-only", "-Wall", "--top-module", "array", *files, folder=tmp_path) == ""


@pytest.mark.parametrize("dataflow", ["output", "weight"])
def test_an_array_with_streams_passes_without_a_warning(dataflow: str, tmp_path: Path) -> None:
    made = array(UNITS["bricks"].cut(EVERY_STEP), 3, 2, dataflow, enable=True)
    texts = [made.built.text, *re.split(r"(?=^module )", made.text + array_stream(made), flags=re.MULTILINE)[1:]]
    files = [f"{text.split()[1]}.v" for text in texts]
    for file, text in zip(files, texts, strict=True):
        (tmp_path / file).write_text(text)
    top = ["--top-module", "array_stream", "--assert", "-DARRAY_ASSERTIONS"]
    assert run("verilator", "--lint-only", "-Wall", *top, *files, folder=tmp_path) == ""
    script = f"read_verilog {' '.join(files)}; hierarchy -check -top array_stream; proc; check -assert"
    assert run("yosys", "-q", "-p", script, folder=tmp_path) == ""


def test_a_net_that_nobody_reads_is_neither_written_nor_counted() -> None:
    whole = Unit((FormatPair.parse("mxfp4"),), "fp32", 4, EVERY_STEP)
    built = build(whole)
    registers = sum(x.width for x in built.assignments if x.clocked)
    assert registers >= bill_of_materials(whole)["register"] > 0
    read = {name for assignment in built.assignments for name in assignment.expression.reads}
    unread = {x.name for x in built.assignments} - read
    assert unread == set()
