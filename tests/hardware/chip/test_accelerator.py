"""Accelerators by file, by preset and by the grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware import Accelerator, AcceleratorGrid, load_accelerator, presets
from codesign.hardware.chip.area import areas
from codesign.hardware.chip.axes import COMPONENTS
from tests.hardware.cases import FP8, INT8, W4A8, chip

GOOD = """\
name: mine
pairs: ["int8:int8", "int4_g32:int8"]
accumulator: auto
dot: 16
rows: 8
columns: 8
sram_kib: 512
dram: lpddr5x_8533
dram_channels: 2
clock_mhz: 900
node_nm: 5
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "chip.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def grid(**changes: object) -> AcceleratorGrid:
    ranges = {
        "pair_sets": [(INT8,), (INT8, W4A8), (FP8,)],
        "dot": [8, 16],
        "rows": [4, 8],
        "columns": [4, 8],
        "sram_bytes": [65536, 262144],
        "dram": ["lpddr5", "lpddr6_10667"],
        "dram_channels": [1, 2],
        "clock_hz": [1e9],
    }
    return AcceleratorGrid.from_ranges(**(ranges | changes))


def test_a_file_gives_the_accelerator_in_si_units(tmp_path: Path) -> None:
    found = load_accelerator(write(tmp_path, GOOD))
    assert (found.sram_bytes, found.clock_hz) == (512 * 1024, 900e6)
    assert found.pairs == (INT8, W4A8)


@pytest.mark.parametrize("name", presets())
def test_presets_load_by_name(name: str) -> None:
    assert load_accelerator(name).name == name


def test_larger_presets_are_larger() -> None:
    found = AcceleratorGrid.of([load_accelerator(f"phone-npu-{size}") for size in ("small", "medium", "large")])
    area = areas(found).value.sum(axis=1)
    assert area[0] < area[1] < area[2]


@pytest.mark.parametrize("name", [name for name in presets() if "npu" not in name])
def test_a_preset_after_a_product_says_beside_every_field_where_it_is_from(name: str) -> None:
    lines = presets()[name].read_text(encoding="utf-8").splitlines()
    fields = [line for line in lines if not line.startswith(("#", "name:"))]
    assert len(fields) >= 10
    assert [line for line in fields if not line.partition(" # ")[2].strip()] == []


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("rows: 8", "rows: -8", 5, "rows"),
        ("rows: 8", "rows: 0", 5, "rows"),
        ("accumulator: auto", "acumulator: auto", 3, "did you mean 'accumulator'"),
        ("lpddr5x_8533", "lpddr5x_8532", 8, "did you mean 'lpddr5x_8533'"),
        ('"int4_g32:int8"', '"itn8:int8"', 2, "itn8"),
        ("dot: 16", "dot: 257", 4, "whole number"),
        ("accumulator: auto", "accumulator: fp31", 3, "accumulator"),
        ("accumulator: auto", "flash: ufs4", 3, "did you mean 'ufs4.0'"),
        ("accumulator: auto", "codec: hufman", 3, "did you mean 'huffman'"),
        ("node_nm: 5", "node_nm: 1", 11, "node_nm"),
        ("rows: 8", "rows: [8", 6, "broken YAML"),
    ],
)
def test_a_mistake_names_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    path = write(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        load_accelerator(path)
    assert str(caught.value).startswith(f"{path}:{line}:")
    assert "\n" not in str(caught.value)


def test_a_missing_preset_offers_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'phone-npu-small'"):
        load_accelerator("phone-npu-smal")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_accelerator(tmp_path / "none.yaml")


@pytest.mark.parametrize("key", ["rows", "columns", "sram_bytes", "dram_channels", "clock_hz"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_must_be_positive(key: str, value: int) -> None:
    with pytest.raises(InputError, match=f"{key} must be positive"):
        chip(**{key: value})


def test_json_form_is_its_own_inverse() -> None:
    found = chip(INT8, W4A8)
    assert found.to_dict()["pairs"] == ["int8:int8", "int4_g32:int8"]
    assert Accelerator.from_dict(found.to_dict()) == found


def test_a_grid_is_the_cartesian_product() -> None:
    found = grid()
    assert len(found) == 3 * 2**6
    assert len({tuple(sorted((k, str(v)) for k, v in a.to_dict().items() if k != "name")) for a in found}) == len(found)


def test_vector_lanes_are_an_axis_with_zero_in_proportion_to_the_columns() -> None:
    found = grid(vector_lanes=[0, 24])
    assert len(found) == 2 * len(grid())
    assert {(a.columns, a.vector_lanes) for a in found} == {(4, 16), (8, 32), (4, 24), (8, 24)}
    assert [found[i].vector_lanes for i in (0, 1)] == [16, 24]


def test_a_grid_of_listed_accelerators_gives_them_back() -> None:
    listed = [chip(INT8, name="a"), chip(W4A8, INT8, rows=4, name="b"), chip(FP8, dram="lpddr5", name="c")]
    assert list(AcceleratorGrid.of(listed)) == listed


def test_a_part_of_a_grid_keeps_its_accelerators() -> None:
    whole = grid()
    picked = np.array([5, 17, 100])
    assert list(whole[picked]) == [whole[int(i)] for i in picked]


def test_grid_areas_are_those_of_each_accelerator_alone() -> None:
    found = grid()
    together = areas(found).value
    for i in (0, 31, 77, 191):
        assert together[i] == pytest.approx(areas(AcceleratorGrid.of([found[i]])).value[0])


def test_area_intervals_hold_the_value() -> None:
    found, decoder = areas(grid()), COMPONENTS.index("decoder")
    assert (np.delete(found.low < found.value, decoder, axis=1)).all()
    assert (np.delete(found.value < found.high, decoder, axis=1)).all()
    assert (found.high[:, decoder] == 0).all()


def test_array_area_is_proportional_to_the_number_of_units() -> None:
    found = areas(AcceleratorGrid.of([chip(), chip(rows=16)])).value[:, COMPONENTS.index("mac_array")]
    assert found[1] == pytest.approx(2 * found[0])


def test_sram_area_is_bit_cells_and_the_periphery_of_their_banks() -> None:
    """1 MiB in nine banks of 114 KiB."""
    found = areas(AcceleratorGrid.of([chip(sram_bytes=2**20)])).value[0, COMPONENTS.index("sram")]
    assert found == pytest.approx(2**20 * 8 * 0.027e-6 * (1 / 0.70 + 3 / (1024 / 9) ** 0.5))


def test_an_accelerator_pays_for_a_share_of_the_interface_that_a_whole_phone_uses() -> None:
    """0.23 (0.12 to 0.38) of 1 mm2 (0.6 to 1.6) for each of four channels."""
    found, part = areas(AcceleratorGrid.of([chip(dram_channels=4)])), COMPONENTS.index("dram_interface")
    interface = [float(ends[0, part]) for ends in (found.low, found.value, found.high)]
    assert interface == pytest.approx([4 * 0.12 * 0.6, 4 * 0.23 * 1.0, 4 * 0.38 * 1.6])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": [8, 0]}, "hardware: rows must be positive, not 0"),
        ({"sram_bytes": [-1]}, "hardware: sram_bytes must be positive, not -1"),
        ({"dram": ["ddr4"]}, "unknown dram 'ddr4'"),
        ({"flash": ["ufs2"]}, "unknown flash 'ufs2'"),
        ({"codec": ["zip"]}, "unknown codec 'zip'"),
        ({"columns": []}, "no value"),
        ({"vector_lanes": []}, "no value"),
        ({"vector_lanes": [8, -1]}, "vector_lanes must be positive"),
        ({"pair_sets": [(FormatPair("int8", "int77"),)]}, "int77"),
    ],
)
def test_an_impossible_range_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        grid(**changes)
