"""Banks, capacities and the energy of memories."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware import Accelerator, AcceleratorGrid, cost, cost_tables
from codesign.hardware.chip.memory import (
    decoder_mm2,
    dram_price_class,
    sram_banks,
    sram_bytes_per_cycle,
    sram_j_per_byte,
    sram_mm2,
)
from codesign.workload import Workload
from tests.hardware.cases import INT8, W4A8, chip, linear

KIB = 1024
GIB = 2.0**30


def grid(*accelerators: Accelerator) -> AcceleratorGrid:
    return AcceleratorGrid.of(accelerators)


def test_banks_feed_the_array_and_are_never_larger_than_the_largest() -> None:
    """8 x 8 units of 16 lanes take 256 operand bytes and give 32 of sums: nine words of 32 bytes."""
    assert sram_bytes_per_cycle(grid(chip()))[0] == 16 * (8 + 8) + 8 * 4
    small, large = chip(sram_bytes=256 * KIB), chip(sram_bytes=64 * 1024 * KIB)
    assert sram_banks(grid(small, large)).tolist() == [9, 64]


def test_a_small_memory_has_no_more_banks_than_its_size_allows() -> None:
    assert sram_banks(grid(chip(sram_bytes=16 * KIB)))[0] == 2
    assert sram_banks(grid(chip(sram_bytes=4 * KIB)))[0] == 1


def test_area_grows_with_capacity_and_a_byte_in_small_banks_takes_more() -> None:
    sizes = [chip(sram_bytes=kib * KIB) for kib in (64, 256, 1024, 8192)]
    area = sram_mm2(grid(*sizes))
    assert (np.diff(area) > 0).all()
    density = area / [size.sram_bytes for size in sizes]
    assert (np.diff(density) < 0).all()
    low, high = (sram_mm2(grid(*sizes), end) for end in ("low", "high"))
    assert (low < area).all()
    assert (area < high).all()


def test_a_byte_from_a_larger_memory_takes_more_energy() -> None:
    energy = sram_j_per_byte(grid(*(chip(sram_bytes=kib * KIB) for kib in (64, 1024, 16384, 65536))))
    assert (np.diff(energy) > 0).all()


def test_one_bank_has_no_wires() -> None:
    """7 nm, 8 KiB: 0.91 + 0.0263 x sqrt(8) pJ."""
    assert sram_j_per_byte(grid(chip(sram_bytes=8 * KIB)))[0] == pytest.approx((0.91 + 0.0263 * 8**0.5) * 1e-12)


def test_the_price_class_of_a_dram_is_said_in_words() -> None:
    assert dram_price_class(grid(chip(dram="lpddr5"), chip(dram="lpddr6_14400"))) == ["mainstream", "next generation"]


def test_decoders_follow_the_bandwidth() -> None:
    one, two = (chip(codec="huffman", dram_channels=count) for count in (1, 2))
    area = decoder_mm2(grid(chip(), one, two))
    assert area[0] == 0
    assert area[2] == pytest.approx(2 * area[1], rel=0.05)


def _workload(elements: int) -> Workload:
    op = linear("x", 1, elements // 1024, 1024)
    return Workload("big", (op,), {"forward": 1}, elements)


def _uniform(pair: FormatPair) -> Assignment:
    return Assignment.of({"x": LayerFormats.of_pair(pair, attention=False)})


def test_a_model_larger_than_dram_is_refused_by_how_much_and_runs_in_fewer_bits_or_with_flash() -> None:
    workload = _workload(2**31)
    wanted = r"big needs 2\.\d\d GiB of DRAM and .* gives networks 1.5 GiB: 0.5\d GiB too much; take more DRAM"
    with pytest.raises(InputError, match=wanted):
        cost(workload, chip(dram_gib=1.5), _uniform(INT8))
    assert cost(workload, chip(INT8, W4A8, dram_gib=1.5), _uniform(W4A8)).dram_capacity_bytes < 1.5 * GIB
    streamed = cost(workload, chip(dram_gib=1.5, dram_channels=4, flash="ufs4.0"), _uniform(INT8))
    assert streamed.layers[0].bound == "flash"
    assert next(c for c in streamed.components if c.name == "flash").energy_j > 0


def test_tables_know_which_designs_fit() -> None:
    workload = _workload(2**31)
    chips = [
        chip(INT8, W4A8, dram_gib=1.5),
        chip(INT8, W4A8, dram_gib=3),
        chip(INT8, W4A8, dram_gib=1.5, flash="ufs3.1"),
    ]
    tables = cost_tables(workload, grid(*chips), [INT8, W4A8])
    choice = np.array([[0], [1]])
    assert tables.fits(choice).tolist() == [[False, True], [True, True], [True, True]]
    assert tables.fits(choice, np.array([0, 1]), paired=True).tolist() == [False, True]


def test_a_codec_makes_the_network_smaller_in_dram() -> None:
    fp8 = FormatPair.parse("fp8_e4m3")
    workload = _workload(2**20)
    plain, coded = (cost(workload, chip(fp8, codec=codec), _uniform(fp8)) for codec in ("", "huffman"))
    assert plain.weight_bytes == coded.weight_bytes == 2**20
    assert coded.dram_capacity_bytes < 0.9 * plain.dram_capacity_bytes
    tables = cost_tables(workload, grid(chip(fp8), chip(fp8, codec="huffman")), [fp8])
    found = tables.totals(["dram_capacity_bytes"], np.array([[0]]))["dram_capacity_bytes"][:, 0]
    assert found.tolist() == pytest.approx([plain.dram_capacity_bytes, coded.dram_capacity_bytes])


def test_unknown_parts_name_the_nearest_one() -> None:
    with pytest.raises(InputError, match=r"unknown flash 'ufs4'.*ufs4\.0"):
        chip(flash="ufs4")
    with pytest.raises(InputError, match=r"unknown codec 'hufman'.*huffman"):
        chip(codec="hufman")
    with pytest.raises(InputError, match="dram_gib must be positive, not -1"):
        chip(dram_gib=-1)
