"""Memory types of a chip team's own: a file of rows stands wherever a type is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from codesign.errors import InputError
from codesign.hardware import AcceleratorGrid, load_accelerator
from codesign.hardware.chip import memory
from codesign.hardware.chip.area import areas
from codesign.hardware.chip.axes import COMPONENTS
from tests.hardware.cases import INT8, chip
from tests.hardware.chip.test_accelerator import GOOD

DRAM = """\
gb_per_s: {value: 50, unit: GB/s per channel, source: data sheet, quality: published}
pj_per_bit: {value: 4, unit: pJ/bit, source: data sheet, quality: published}
interface_mm2: {value: 2, low: 1, high: 3, unit: mm2 per channel, source: own layout, quality: measured}
gib_per_channel: {value: 8, unit: GiB per channel, source: data sheet, quality: published}
price_class: next generation
"""
FLASH = """\
gb_per_s: {value: 8, unit: GB/s, source: data sheet, quality: published}
pj_per_bit: {value: 25, unit: pJ/bit, source: data sheet, quality: published}
"""
CODEC = """\
decoder_um2: {value: 1000, unit: um2, source: own layout, quality: measured}
ratio:
  int8: {value: 1.25, unit: bytes before / after, source: own weights, quality: measured}
"""


def test_a_dram_type_in_a_file_is_priced_by_its_rows(tmp_path: Path) -> None:
    (tmp_path / "lpddr6x.yaml").write_text(DRAM)
    (tmp_path / "chip.yaml").write_text(GOOD.replace("lpddr5x_8533", "lpddr6x.yaml"))
    found = load_accelerator(tmp_path / "chip.yaml")
    grid = AcceleratorGrid.of([found])
    assert found.dram == str(tmp_path / "lpddr6x.yaml")
    assert found.dram_gib == 8  # half of two channels of 8 GiB
    assert memory.dram_bytes_per_s(grid)[0] == pytest.approx(2 * 50e9 * 0.8)
    assert memory.dram_j_per_byte(grid)[0] == pytest.approx(32e-12)
    assert memory.dram_interface_mm2(grid, "high")[0] == 6
    assert memory.dram_price_class(grid) == ["next generation"]


def test_flash_and_codec_come_from_files_as_well(tmp_path: Path) -> None:
    (tmp_path / "flash.yaml").write_text(FLASH)
    (tmp_path / "codec.yaml").write_text(CODEC)
    plain = chip(INT8)
    found = replace(plain, flash=str(tmp_path / "flash.yaml"), codec=str(tmp_path / "codec.yaml"))
    grid = AcceleratorGrid.of([plain, found])
    assert grid.has_flash.tolist() == [False, True]
    assert memory.flash_j_per_byte(grid).tolist() == pytest.approx([0, 200e-12])
    assert memory.compression_ratios(grid, [INT8]).tolist() == [[1.0], [1.25]]
    decoder = areas(grid).value[:, COMPONENTS.index("decoder")]
    assert decoder.tolist() == pytest.approx([0, 1000 * 28 * 1e-6])  # 2 codes per byte of 13.7 GB/s, at 1 GHz


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "dram.yaml"
    path.write_text(DRAM)
    first = AcceleratorGrid.of([chip(INT8, dram=str(path))])
    assert memory.dram_j_per_byte(first)[0] == pytest.approx(32e-12)
    path.write_text(DRAM.replace("value: 4,", "value: 4.5,") + "\n")
    assert memory.dram_j_per_byte(first)[0] == pytest.approx(36e-12)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("pj_per_bit:", "pj_per_byte:", 2, "did you mean 'pj_per_bit'"),
        (", source: own layout, quality: measured", "", 3, "interface_mm2: coefficient without source, quality"),
        ("low: 1", "low: 2.5", 3, "outside its interval"),
        ("{value: 4, unit: pJ/bit, source: data sheet, quality: published}", "4", 2, "expected a row"),
    ],
)
def test_a_mistake_in_the_file_names_its_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    path = tmp_path / "dram.yaml"
    path.write_text(DRAM.replace(old, new))
    with pytest.raises(InputError, match=message) as caught:
        chip(INT8, dram=str(path))
    assert f"{path}:{line}:" in str(caught.value)


def test_a_file_that_is_not_there_is_named_with_the_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "chip.yaml").write_text(GOOD.replace("lpddr5x_8533", "none.yaml"))
    with pytest.raises(InputError, match=r"chip.yaml:8: dram: .*no such file: .*none.yaml"):
        load_accelerator(tmp_path / "chip.yaml")
