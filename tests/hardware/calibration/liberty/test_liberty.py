"""Reading Liberty files: numbers in our units, and one line for everything that can be wrong with a file."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.hardware.calibration.liberty.cells import cells_delay
from codesign.hardware.calibration.liberty.library import Library, read_liberty, write_merged
from codesign.hardware.calibration.liberty.logic import parse_expression
from tests.hardware.calibration import tiny


def written(folder: Path, text: str | bytes, name: str = "some.lib") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def test_a_gate_is_read_with_area_leakage_capacitance_function_and_energy(library: Library) -> None:
    xor = library.cells["xor2"]
    assert (xor.area_um2, xor.leakage_nw, xor.inputs_ff) == (4.0, 4.0, {"A": 2.0, "B": 2.0})
    assert xor.tables() == {"Y": (0, 1, 1, 0)}
    assert xor.internal_fj == {"Y": 1.0}
    assert xor.combinational


def test_a_flip_flop_is_read_with_clock_and_next_state(library: Library) -> None:
    ff = library.cells["dff"].ff
    assert ff is not None
    assert (ff.state, ff.inverse, ff.clock, ff.rising) == ("IQ", "IQN", "CK", True)
    assert ff.next_state == parse_expression("D")


def test_an_edge_that_changes_the_output_is_not_counted_twice(library: Library) -> None:
    # the library books 2.5 fJ on Q and nothing on CK where Q changes, 0.5 fJ on CK where it rests
    assert library.cells["dff"].internal_fj == {"CK": 0.5, "D": 0.0, "Q": 2.0}


def test_units_of_the_header_are_converted(tmp_path: Path) -> None:
    header = (
        tiny.HEADER.replace("(1,ff)", "(1,pf)")
        .replace('"1nW"', '"1pW"')
        .replace('time_unit : "1ps"', 'time_unit : "1ns"')
        .replace("nom_voltage : 1.0", "nom_voltage : 1.2")
    )
    library = read_liberty(written(tmp_path, tiny.library(header=header)))
    inverter = library.cells["inv"]
    assert inverter.inputs_ff["A"] == pytest.approx(1000)
    assert inverter.leakage_nw == pytest.approx(1e-3)
    assert inverter.internal_fj["Y"] == pytest.approx(250)  # 0.25 pF V^2
    assert library.voltage_v == pytest.approx(1.2)
    assert cells_delay(library)[1] == pytest.approx(13_000)


def test_the_default_operating_conditions_give_the_voltage(tmp_path: Path) -> None:
    conditions = "operating_conditions (slow) { voltage : 0.6; }\noperating_conditions (typical) { voltage : 0.8; }\n"
    header = tiny.HEADER + conditions + '  default_operating_conditions : "typical";\n'
    assert read_liberty(written(tmp_path, tiny.library(header=header))).voltage_v == 0.8


def test_energies_of_several_supplies_add_up_and_conditions_average(tmp_path: Path) -> None:
    def power(supply: str, when: str, value: float) -> str:
        tables = " ".join(f'{edge} (scalar) {{ values ("{value}"); }}' for edge in ("rise_power", "fall_power"))
        return f'internal_power () {{ related_pg_pin : {supply}; when : "{when}"; {tables} }}\n'

    groups = power("VDD", "B", 1) + power("VDD", "!B", 3) + power("VSS", "B", 4) + power("VSS", "!B", 6)
    text = tiny.library().replace('internal_power () { related_pin : "A";', groups + "unread () {", 1)
    assert read_liberty(written(tmp_path, text)).cells["inv"].internal_fj["Y"] == 7


def test_leakage_without_one_number_is_the_sum_of_supplies_of_the_mean_of_states(tmp_path: Path) -> None:
    states = "".join(
        f'leakage_power () {{ value : {value}; when : "{when}"; related_pg_pin : {supply}; }}\n'
        for value, when, supply in ((2, "A", "VDD"), (4, "!A", "VDD"), (1, "A", "VSS"), (1, "!A", "VSS"))
    )
    text = tiny.library().replace("cell_leakage_power : 1.0;", states, 1)
    assert read_liberty(written(tmp_path, text)).cells["inv"].leakage_nw == 4


def test_the_middle_of_a_table_is_taken_for_energy(tmp_path: Path) -> None:
    table = 'values ("1, 2, 3", "4, 5, 6", \\\n "7, 8, 9")'
    text = tiny.library().replace('values ("0.25")', table)
    assert read_liberty(written(tmp_path, text)).cells["inv"].internal_fj["Y"] == 5


def test_delays_are_read_at_four_inverters_of_load(library: Library) -> None:
    # 30 ps at 1 fF and 38 ps at 9 fF; four inputs of 1 fF
    assert cells_delay(library) == (33.0, 13.0)


def test_the_smallest_plain_flip_flop_on_the_rising_edge_is_chosen(tmp_path: Path) -> None:
    flops = (
        tiny.flip_flop("big", 9.0),
        tiny.flip_flop("falling", 1.0).replace('clocked_on : "CK"', 'clocked_on : "!CK"'),
        tiny.flip_flop("scan", 1.0).replace('next_state : "D"', 'next_state : "D CK"'),
        tiny.flip_flop("reset", 2.0, clear='clear : "!R";'),
        tiny.flip_flop("small", 8.0),
    )
    assert read_liberty(written(tmp_path, tiny.library(flip_flops=flops))).flip_flop.name == "small"


def test_a_flip_flop_with_reset_serves_where_there_is_no_plain_one(tmp_path: Path) -> None:
    flops = (tiny.flip_flop("reset", 2.0, clear='clear : "!R";'),)
    chosen = read_liberty(written(tmp_path, tiny.library(flip_flops=flops))).flip_flop
    assert chosen.ff is not None
    assert chosen.ff.clear == parse_expression("!R")


def test_full_adder_cells_are_named(tmp_path: Path) -> None:
    pins = "".join(f"pin ({pin}) {{ direction : input; capacitance : 1; }}" for pin in "ABC")
    outputs = 'pin (N) { direction : output; function : "!(A B + A C + B C)"; }'
    outputs += 'pin (S) { direction : output; function : "A ^ B ^ C"; }'
    adder = f"cell (fa) {{ area : 9; {pins} {outputs} }}\n"
    library = read_liberty(written(tmp_path, tiny.library(flip_flops=(tiny.flip_flop(), adder))))
    assert library.full_adders == ("fa",)


def test_latches_and_three_state_cells_are_marked(tmp_path: Path) -> None:
    latch = 'cell (lat) { area : 5; latch (IQ, IQN) { enable : "G"; data_in : "D"; } '
    latch += "pin (G) { direction : input; } pin (D) { direction : input; } "
    latch += 'pin (Q) { direction : output; function : "IQ"; } }\n'
    bus = "cell (tri) { area : 5; pin (A) { direction : input; } "
    bus += 'pin (Y) { direction : output; function : "A"; three_state : "A"; } }\n'
    library = read_liberty(written(tmp_path, tiny.library(flip_flops=(tiny.flip_flop(), latch, bus))))
    assert library.cells["lat"].latch
    assert not library.cells["lat"].combinational
    assert library.cells["tri"].dont_use


def test_gzip_is_read_as_the_same_library(tmp_path: Path, liberty_path: Path, library: Library) -> None:
    packed = written(tmp_path, gzip.compress(liberty_path.read_bytes()), "tiny.lib.gz")
    again = read_liberty(packed)
    assert (again.cells, again.sha256) == (library.cells, library.sha256)


def test_a_library_in_parts_is_read_as_one(tmp_path: Path, library: Library) -> None:
    gates = written(tmp_path, tiny.library(flip_flops=()), "gates.lib")
    flops = written(tmp_path, tiny.library(gates=()).replace("library (tiny)", "library (rest)"), "flops.lib")
    both = read_liberty(gates, flops)
    assert both.name == "tiny"
    assert both.cells == library.cells
    assert both.sha256 != library.sha256


def test_a_merged_library_reads_as_its_parts_without_power_tables(tmp_path: Path, library: Library) -> None:
    gates = written(tmp_path, gzip.compress(tiny.library(flip_flops=()).encode()), "gates.lib.gz")
    flops = written(tmp_path, tiny.library(gates=()), "flops.lib")
    write_merged([gates, flops], tmp_path / "both.lib")
    text = (tmp_path / "both.lib").read_text(encoding="utf-8")
    assert "internal_power" not in text
    both = read_liberty(tmp_path / "both.lib")
    assert {name: cell.area_um2 for name, cell in both.cells.items()} == {
        name: cell.area_um2 for name, cell in library.cells.items()
    }
    assert not both.has_internal_power


def test_parts_in_different_units_are_refused(tmp_path: Path) -> None:
    gates = written(tmp_path, tiny.library(flip_flops=()), "gates.lib")
    flops = written(tmp_path, tiny.library(gates=(), header=tiny.HEADER.replace("1nW", "1pW")), "flops.lib")
    with pytest.raises(InputError, match=r"flops\.lib: its units .* differ from those of .*gates\.lib"):
        read_liberty(gates, flops)
    with pytest.raises(InputError, match=r"flops\.lib: its units differ"):
        write_merged([gates, flops], tmp_path / "both.lib")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.lib: no such file"):
        read_liberty(tmp_path / "none.lib")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "not a Liberty file"),
        (b"units:\n  - int8\n", r"some\.lib:1: not a Liberty file"),
        (b"", r"some\.lib:1: not a Liberty file"),
        (b"\x1f\x8b\x08\x00damaged", "damaged gzip"),
        (b"\n\nlibrary (x)\n", r"some\.lib:3: not a Liberty file"),
    ],
)
def test_what_is_not_liberty_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_liberty(written(tmp_path, content))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_liberty(tmp_path)


def test_a_truncated_file_is_refused_with_the_group_that_stays_open(tmp_path: Path) -> None:
    text = tiny.library()
    cut = text[: text.index("cell (xor2)") + 300]
    line = text[: text.index("cell (xor2)")].count("\n") + 1
    with pytest.raises(InputError, match=rf"some\.lib:{line}: the braces of cell \(xor2\) are never closed"):
        read_liberty(written(tmp_path, cut))
    with pytest.raises(InputError, match=r"library .*never closed"):
        read_liberty(written(tmp_path, text.rstrip()[:-1]))
    with pytest.raises(InputError, match="truncated"):
        write_merged([written(tmp_path, cut)], tmp_path / "out.lib")
    assert not (tmp_path / "out.lib").exists()


def test_a_damaged_statement_is_refused_with_its_line(tmp_path: Path) -> None:
    text = tiny.library().replace("area : 1.0", "area 1.0", 1)
    line = text[: text.index("area 1.0")].count("\n") + 1
    with pytest.raises(InputError, match=rf"some\.lib:{line}: expected ':' or '\(\.\.\.\)' after 'area'"):
        read_liberty(written(tmp_path, text))


def test_a_number_or_function_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"some\.lib:\d+: 'wide' in cell is not a number"):
        read_liberty(written(tmp_path, tiny.library().replace("area : 1.0", "area : wide", 1)))
    with pytest.raises(InputError, match=r"some\.lib:\d+: not a boolean function: 'A \^'"):
        read_liberty(written(tmp_path, tiny.library().replace("A ^ B", "A ^", 1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (tiny.library(flip_flops=()), "no flip-flop.*name all of them"),
        (tiny.library(flip_flops=(tiny.flip_flop().replace('"CK"; next', '"!CK"; next'),)), "no flip-flop"),
        (tiny.library(gates=("nand2", "nor2")), "no inverter"),
        (tiny.library(gates=("inv", "xor2")), "no two-input NAND or NOR"),
        (tiny.library(gates=(), flip_flops=()), "no cells"),
        (tiny.library().replace("area :", "size :"), "no cell has an area"),
        (tiny.library(header=tiny.HEADER.replace("capacitive_load_unit (1,ff);", "")), "no capacitive_load_unit"),
        (tiny.library(header=tiny.HEADER.replace('"1nW"', '"1 nanowatt"')), "'1 nanowatt' is not a unit in W"),
        (tiny.library(header=tiny.HEADER.replace("nom_voltage : 1.0;", "")), "no nom_voltage"),
    ],
)
def test_a_library_that_cannot_build_a_unit_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_liberty(written(tmp_path, text))


def test_no_file_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Liberty file given"):
        read_liberty()
    with pytest.raises(InputError, match="no Liberty file given"):
        write_merged([], tmp_path / "out.lib")
