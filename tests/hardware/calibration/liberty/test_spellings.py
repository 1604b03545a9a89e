"""The ways in which people write Liberty: each is read as the plain spelling is, and synthesised as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.cells import cells_delay
from codesign.hardware.calibration.liberty.library import Library, read_liberty, write_merged
from codesign.hardware.calibration.synthesis.yosys import Tool, synthesize
from tests.hardware.calibration import tiny

WHOLE = tiny.library()
LOAD = "capacitive_load_unit (1,ff)"


def changed(old: str, new: str, text: str = WHOLE) -> str:
    assert old in text
    return text.replace(old, new)


SPELLINGS = {
    "a backslash before the arguments": changed(LOAD, "capacitive_load_unit \\\n    (1,ff)"),
    "a backslash before the brace": changed("library (tiny) {", "library (tiny) \\\n {"),
    "a backslash before the value": changed('time_unit : "1ps"', 'time_unit : \\\n  "1ps"'),
    "a new line before the arguments": changed(LOAD, "capacitive_load_unit\n    (1,ff)"),
    "a comment before the brace": changed("cell (inv) {", "cell (inv) /* smallest */ {"),
    "a quoted load unit": changed(LOAD, 'capacitive_load_unit ("1","fF")'),
    "a load unit in one quote": changed(LOAD, 'capacitive_load_unit (1, "ff")'),
    "units without quotes": changed('"1nW"', "1nW", changed('time_unit : "1ps"', "time_unit : 1ps")),
    "units with a space": changed('"1nW"', '"1 nw"'),
    "a byte-order mark": "\ufeff" + WHOLE,
    "carriage returns": WHOLE.replace("\n", "\r\n"),
    "a function without quotes": changed('function : "!A"', "function : !A"),
    "a function without quotes, with a comment": changed('function : "A ^ B"', "function : A ^ B /* odd */"),
    "a next state without quotes": changed('next_state : "D"', "next_state : D"),
    "a list of pins": changed(
        "pin (A) { direction : input; capacitance : 2.0; }\npin (B) { direction : input; capacitance : 2.0; }",
        "pin (A, B) { direction : input; capacitance : 2.0; }",
    ),
    "a default capacitance of input pins": changed(
        "library (tiny) {",
        "library (tiny) {\n  default_input_pin_cap : 1.0;",
        WHOLE.replace("direction : input; capacitance : 1.0;", "direction : input;"),
    ),
    "units after the first group": changed(
        "  lu_table_template (delay)",
        f'  type (b) {{ base_type : array; }}\n  {LOAD};\n  time_unit : "1ps";\n  lu_table_template (delay)',
        changed(f"  {LOAD};\n", "", changed('  time_unit : "1ps";\n', "")),
    ),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "some.lib"
    path.write_bytes(text.encode("utf-8"))
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_spelling_reads_as_the_plain_one(spelling: str, tmp_path: Path, library: Library) -> None:
    path = written(tmp_path, SPELLINGS[spelling])
    read = read_liberty(path)
    assert (read.cells, read.time_ps, read.load_ff) == (library.cells, library.time_ps, library.load_ff)
    assert cells_delay(read) == cells_delay(library)
    assert read.assumed == ()
    write_merged([path], tmp_path / "merged.lib")
    merged = read_liberty(tmp_path / "merged.lib")
    assert {name: cell.tables() for name, cell in merged.cells.items() if cell.combinational} == {
        name: cell.tables() for name, cell in library.cells.items() if cell.combinational
    }
    assert (merged.time_ps, merged.load_ff) == (library.time_ps, library.load_ff)


@pytest.mark.parametrize(
    "spelling",
    [
        "a backslash before the arguments",
        "a quoted load unit",
        "a byte-order mark",
        "a function without quotes",
        "a list of pins",
        "a default capacitance of input pins",
        "units after the first group",
    ],
)
def test_a_spelling_is_synthesised_as_the_plain_one(spelling: str, tmp_path: Path, merged: Path, yosys: Tool) -> None:
    plain = synthesize(tiny.ACCUMULATOR, "acc", merged, 500, 60, tmp_path / "plain", yosys)
    write_merged([written(tmp_path, SPELLINGS[spelling])], tmp_path / "some-merged.lib")
    found = synthesize(tiny.ACCUMULATOR, "acc", tmp_path / "some-merged.lib", 500, 60, tmp_path / "some", yosys)
    assert (found.area_um2, found.delay_ps, found.cells) == (plain.area_um2, plain.delay_ps, plain.cells)


def test_without_a_leakage_unit_the_assumed_one_is_said(tmp_path: Path, library: Library) -> None:
    text = changed('  leakage_power_unit : "1nW";\n', "")
    read = read_liberty(written(tmp_path, text))
    assert read.cells == library.cells
    assert read.assumed == ("no leakage_power_unit, for which Liberty has no default: leakage is read in 1nW",)


def test_without_leakage_no_unit_is_needed(tmp_path: Path) -> None:
    text = changed('  leakage_power_unit : "1nW";\n', "").replace("cell_leakage_power", "unread")
    assert read_liberty(written(tmp_path, text)).assumed == ()


def test_a_pin_of_unknown_capacitance_is_refused_with_its_cell_and_line(tmp_path: Path) -> None:
    """It would have been read as 0, and made every unit with that cell faster and cheaper than it is."""
    text = changed("pin (B) { direction : input; capacitance : 2.0;", "pin (B) { direction : input;")
    line = text[: text.index("pin (B) { direction : input; }")].count("\n") + 1
    said = rf"some\.lib:{line}: pin B of cell xor2 has no capacitance, and the library no default_input_pin_cap"
    with pytest.raises(InputError, match=said):
        read_liberty(written(tmp_path, text))


@pytest.mark.parametrize("area", ["", "area : 0;", "area : 0.0;"])
def test_a_cell_without_an_area_is_refused(area: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"some\.lib: cell xor2 has no area: synthesis would take it for nothing"):
        read_liberty(written(tmp_path, changed("cell (xor2) { area : 4.0", f"cell (xor2) {{ {area}")))


def test_a_library_that_includes_another_is_refused(tmp_path: Path) -> None:
    text = changed("nom_voltage : 1.0;", "nom_voltage : 1.0; include_file (other.lib);")
    with pytest.raises(InputError, match=r"some\.lib: include_file \(other\.lib\): included files are not read"):
        read_liberty(written(tmp_path, text))


def test_a_cell_that_no_unit_is_built_of_needs_no_capacitance(tmp_path: Path) -> None:
    text = changed("pin (B) { direction : input; capacitance : 2.0;", "pin (B) { direction : input;")
    unused = changed("cell (xor2) {", "cell (xor2) { dont_use : true;", text)
    assert read_liberty(written(tmp_path, unused)).cells["xor2"].dont_use


def test_a_library_without_a_buffer_is_refused_before_synthesis(tmp_path: Path) -> None:
    text = tiny.library(gates=[gate for gate in tiny.GATES if gate != "buf"])
    with pytest.raises(InputError, match=r"some\.lib: no buffer \(one input, function: the input\): abc maps no unit"):
        read_liberty(written(tmp_path, text))


def test_a_second_library_in_the_file_is_refused_with_its_line(tmp_path: Path) -> None:
    text = WHOLE + "\n" + WHOLE.replace("library (tiny)", "library (other)")
    line = text[: text.index("library (other)")].count("\n") + 1
    with pytest.raises(InputError, match=rf"some\.lib:{line}: a second library begins here"):
        read_liberty(written(tmp_path, text))
