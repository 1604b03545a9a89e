"""Time and traffic of one operator: hand-computed cases, bounds and monotonicity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware import Accelerator, AcceleratorGrid
from codesign.hardware.schedule.footprint import Footprint, tensor_elements
from codesign.hardware.schedule.machine import Machine, OperatorCost
from codesign.hardware.units.coefficients import table
from codesign.hardware.units.requantizers import requantizer_cost
from codesign.workload.types import Operator
from tests.hardware.cases import BF16, INT8, W4A8, attention, chip, linear

KIB = 1024
BANDWIDTH = 17.1e9 * 0.8  # one channel of lpddr5x_8533, sustained


def run(
    op: Operator,
    accelerator: Accelerator,
    pair: FormatPair = INT8,
    *,
    resident: int = 0,
    waiting: int = 0,
    reserved: float = 0.0,
    passes: int = 1,
) -> OperatorCost:
    """One entry; `resident` elements compete for the resident share (0: the operator's own weights), `waiting` ones for
    the waiting share; `reserved` bytes of DRAM are taken."""
    zero = np.zeros(1, dtype=np.int64)
    footprint = Footprint(resident or op.stationary_elements, 0, waiting, reserved)
    return Machine(AcceleratorGrid.of([accelerator]), [pair], footprint, zero, zero).run(op, passes)


def random_operators(count: int = 40) -> list[Operator]:
    rng = np.random.default_rng(7)
    found: list[Operator] = []
    for i in range(count):
        m, n, k = (int(2 ** rng.uniform(0, 11)) for _ in range(3))
        found.append(linear(f"linear{i}", m, n, k))
        found += attention(f"attention{i}", m, m, min(k, 128), 4, "forward")
    return found


def test_cycles_of_a_matrix_product_by_hand() -> None:
    """M 32 on 8 rows, N 64 on 8 columns, K 128 in steps of 16: 4 x 8 x 8 cycles, no loss."""
    assert run(linear("x", 32, 64, 128), chip()).cycles[0] == 256


def test_ragged_shapes_lose_whole_tiles() -> None:
    """One more row, column and element of K each start another tile: 5 x 9 x 9."""
    assert run(linear("x", 33, 65, 129), chip()).cycles[0] == 5 * 9 * 9


def test_a_matrix_vector_product_spreads_k_over_the_rows() -> None:
    """M 1 would leave 7 of 8 rows idle; instead 1024 of K take 8 steps of 8 x 16, for 8 tiles of N."""
    assert run(linear("x", 1, 64, 1024), chip()).cycles[0] == 8 * 8


def test_groups_run_one_after_the_other() -> None:
    one = linear("x", 32, 64, 128)
    assert run(replace(one, count=3), chip()).cycles[0] == 3 * run(one, chip()).cycles[0]


def test_small_tensors_leave_only_the_weights_to_dram() -> None:
    """A 32 x 128 input and a 32 x 64 output stay on chip; of 8 KiB weights nothing is resident yet."""
    result = run(linear("x", 32, 64, 128), chip(), resident=10**12)
    assert result.dram_bytes[0] == pytest.approx(64 * 128, rel=1e-3)


def test_a_spilled_input_and_the_weights_take_turns_by_tiles() -> None:
    """SRAM 64 KiB: 24 KiB of input, more than its 16 KiB half, in tiles of 8 KiB at most; weights and sums in 16 KiB.
    All 24 rows of sums under way, 256 columns wide, take more than that: the columns go in two halves."""
    op = linear("x", 24, 256, 1024)
    result = run(op, chip(sram_bytes=64 * KIB), resident=10**12)
    assert result.dram_bytes[0] == pytest.approx(256 * KIB + 2 * 24 * KIB, rel=1e-3)


def test_dram_time_is_bytes_over_sustained_bandwidth() -> None:
    result = run(linear("x", 1, 1024, 1024), chip(), resident=10**12)
    assert result.dram_s[0] == pytest.approx(2**20 / BANDWIDTH, rel=1e-3)
    assert result.latency_s[0] == result.dram_s[0]


def test_resident_weights_are_read_once_per_result() -> None:
    """16 KiB of weights fit the resident eighth of 256 KiB: four passes move them once."""
    op = linear("x", 8, 128, 128)
    assert run(op, chip(), passes=4).dram_bytes[0] == pytest.approx(128 * 128 / 4)


def test_weights_larger_than_the_resident_share_are_kept_in_part() -> None:
    """256 KiB of weights, 32 KiB resident: seven eighths on each of four passes, an eighth once."""
    op = linear("x", 8, 512, 512)
    expected = 2**18 * (7 / 8 + 1 / 8 / 4)
    assert run(op, chip(), passes=4).dram_bytes[0] == pytest.approx(expected)


def test_idle_weights_take_their_part_of_the_resident_share_once_and_no_traffic_on_the_others() -> None:
    """256 KiB of eight experts, 32 KiB resident; each pass reads seven eighths of two, all give an eighth once."""
    op = replace(linear("x", 1, 256, 256), count=2, stationary_elements=64 * KIB, idle_elements=192 * KIB)
    result = run(op, chip(sram_bytes=256 * KIB), resident=256 * KIB, passes=4)
    assert 4 * result.dram_bytes[0] == pytest.approx(4 * 7 / 8 * 64 * KIB + 256 * KIB / 8)


def test_attention_scores_never_reach_dram() -> None:
    scores, _ = attention("x", 512, 512, 32, 4, "forward")
    assert tensor_elements(scores) == (512 * 32 * 4, 0)
    result = run(scores, chip(sram_bytes=2**22))
    assert result.dram_bytes[0] == 0


def test_a_key_cache_is_read_from_dram_on_every_token() -> None:
    scores, _ = attention("x", 1, 512, 64, 8, "decode")
    result = run(scores, chip(), resident=10**12)
    cached, written = 511 * 64 * 8, 64 * 8
    assert result.dram_bytes[0] == pytest.approx(cached + written, rel=1e-3)


def test_a_narrower_cache_moves_fewer_bytes() -> None:
    scores, _ = attention("x", 1, 512, 64, 8, "decode")
    wide = run(scores, chip(INT8, W4A8), INT8, resident=10**12).dram_bytes[0]
    narrow = run(scores, chip(INT8, W4A8), W4A8, resident=10**12).dram_bytes[0]
    assert narrow / wide == pytest.approx(4.5 / 8, rel=1e-3)


def test_calls_repeat_the_operator() -> None:
    op = linear("x", 64, 64, 64)
    once, twice = run(op, chip(), resident=10**9), run(replace(op, calls=2), chip(), resident=10**9)
    assert twice.latency_s[0] == pytest.approx(2 * once.latency_s[0])
    assert twice.energy_j[0] == pytest.approx(2 * once.energy_j[0])


@pytest.mark.parametrize("op", random_operators(), ids=lambda op: f"{op.layer}-{op.kind}")
def test_latency_is_never_below_a_roofline_nor_traffic_below_the_minimum(op: Operator) -> None:
    accelerator = chip(sram_bytes=64 * KIB)
    result = run(op, accelerator, resident=10**15)
    assert result.compute_s[0] >= op.macs / (8 * 8 * 16 * 1e9) * (1 - 1e-12)
    inputs, outputs = tensor_elements(op)
    half = 16 * KIB
    spilled = sum(size for size in (inputs, outputs) if size > half)
    stationary = op.stationary_elements if not op.is_attention or op.stationary_elements > half else 0
    minimum = stationary + spilled
    assert result.dram_bytes[0] >= minimum * (1 - 1e-9)
    assert result.latency_s[0] >= minimum / BANDWIDTH * (1 - 1e-9)


@pytest.mark.parametrize("op", random_operators(12), ids=lambda op: f"{op.layer}-{op.kind}")
def test_more_sram_never_means_more_traffic(op: Operator) -> None:
    moved = [
        run(op, chip(sram_bytes=size * KIB), passes=3).dram_bytes[0] for size in (16, 40, 64, 200, 256, 1024, 9999)
    ]
    assert moved == sorted(moved, reverse=True)


@pytest.mark.parametrize("op", random_operators(12), ids=lambda op: f"{op.layer}-{op.kind}")
def test_more_channels_are_never_slower(op: Operator) -> None:
    times = [run(op, chip(dram_channels=count)).latency_s[0] for count in (1, 2, 3, 4, 8)]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("op", random_operators(12), ids=lambda op: f"{op.layer}-{op.kind}")
def test_fewer_bits_never_move_more_bytes(op: Operator) -> None:
    """A scale of 16 bits for fewer than four elements makes int4_g32 wider than int8."""
    pairs = [FormatPair.parse(p) for p in ("int4", "int4_g32:int8", "int8", "int8:bf16", "bf16")]
    pairs = [pair for pair in pairs if pair != W4A8 or op.k >= 4]
    accelerator = chip(*pairs)
    moved = [run(op, accelerator, pair, resident=10**5, passes=4).dram_bytes[0] for pair in pairs]
    assert moved == sorted(moved)


def test_a_faster_mode_takes_fewer_cycles() -> None:
    op = linear("x", 512, 512, 1024)
    accelerator = chip(INT8, W4A8)
    assert run(op, accelerator, W4A8).cycles[0] * 2 == run(op, accelerator, INT8).cycles[0]


def test_energy_is_the_sum_of_its_parts() -> None:
    result = run(linear("x", 512, 512, 1024), chip(BF16), BF16)
    unit = chip(BF16).unit.energy_pj(BF16).value * 1e-12
    assert result.mac_j[0] == pytest.approx(512 * 512 * 1024 * unit)
    assert result.dram_j[0] == pytest.approx(result.dram_bytes[0] * 8 * 6e-12)
    assert result.energy_j[0] == pytest.approx(result.mac_j[0] + result.sram_j[0] + result.dram_j[0])


def test_each_element_of_a_quantized_input_was_requantized_once() -> None:
    op = linear("x", 512, 512, 1024)
    cost = requantizer_cost("int8", chip(INT8).unit)
    assert cost is not None
    assert run(op, chip(INT8), INT8).vector_j[0] == pytest.approx(512 * 1024 * cost.energy_pj.value * 1e-12)


def test_elementwise_work_passes_beside_the_array_and_a_norm_waits() -> None:
    """32 lanes at 1 GHz: 2 cycles an element of an activation, 3 of a norm."""
    op = linear("x", 64, 64, 64)
    plain = run(op, chip(vector_lanes=32))
    active = run(replace(op, vector=(("activation", 4096),)), chip(vector_lanes=32))
    normed = run(replace(op, vector=(("norm", 4096),)), chip(vector_lanes=32))
    assert active.passing_s[0] == pytest.approx(4096 * 2 / 32e9)
    assert active.latency_s[0] == max(plain.latency_s[0], active.passing_s[0])
    assert normed.latency_s[0] == pytest.approx(plain.latency_s[0] + 4096 * 3 / 32e9)


def test_scores_go_through_a_softmax() -> None:
    scores, values = attention("x", 128, 128, 32, 4, "forward")
    assert run(scores, chip(vector_lanes=32)).after_s[0] == pytest.approx(128 * 128 * 4 * 4 / 32e9)
    assert run(values, chip(vector_lanes=32)).vector_s[0] == 0


def test_a_norm_over_a_tensor_that_does_not_fit_reads_and_writes_it_once_more() -> None:
    op = linear("x", 512, 256, 64)
    small, large = chip(sram_bytes=64 * KIB), chip(sram_bytes=2048 * KIB)
    for accelerator, extra in ((small, 2 * 512 * 256), (large, 0)):
        plain = run(op, accelerator, resident=10**12).dram_bytes[0]
        normed = run(replace(op, vector=(("norm", 512 * 256),)), accelerator, resident=10**12).dram_bytes[0]
        assert normed - plain == extra


def test_a_waiting_result_stays_on_chip_as_far_as_its_share_holds_it() -> None:
    """16 KiB wait, where 64 KiB do at the worst moment: an eighth of 256 KiB, half of them, stays."""
    op = linear("x", 64, 256, 64)
    plain = run(op, chip(sram_bytes=256 * KIB)).dram_bytes[0]
    kept = replace(op, live_out_elements=16 * KIB)
    alone = run(kept, chip(sram_bytes=256 * KIB), waiting=16 * KIB).dram_bytes[0]
    crowded = run(kept, chip(sram_bytes=256 * KIB), waiting=64 * KIB).dram_bytes[0]
    assert alone == plain
    assert crowded - plain == pytest.approx(2 * 8 * KIB)


def test_a_waiting_result_that_went_out_anyway_is_read_once_more() -> None:
    op = linear("x", 512, 256, 64)
    plain = run(op, chip(sram_bytes=64 * KIB), waiting=1).dram_bytes[0]
    kept = run(replace(op, live_out_elements=512 * 256), chip(sram_bytes=64 * KIB), waiting=1).dram_bytes[0]
    assert kept - plain == 512 * 256


def test_weights_that_find_no_place_in_dram_stream_from_flash_through_it() -> None:
    """1 GiB of weights, 1 GiB of DRAM of which a quarter is taken: a quarter of each layer comes from flash."""
    op, elements = linear("x", 1, 1024, 1024), 2**30
    with_flash = chip(flash="ufs4.0", dram_gib=1)
    result = run(op, with_flash, resident=elements, reserved=2**28)
    plain = run(op, chip(dram_gib=1), resident=elements)
    assert result.dram_bytes[0] - plain.dram_bytes[0] == pytest.approx(2**20 / 4, rel=1e-3)
    sustained = 2**19 / (2**19 / 4.2e9 + 20e-6)
    assert result.flash_s[0] == pytest.approx(2**20 / 4 / sustained, rel=1e-3)
    assert result.latency_s[0] >= result.flash_s[0]
    assert result.flash_j[0] == pytest.approx(2**20 / 4 * 8 * 52e-12, rel=1e-3)
    assert run(op, with_flash, resident=elements // 2, reserved=2**28).flash_s[0] == 0


def test_a_codec_moves_fewer_bytes_of_weights_and_none_less_of_activations() -> None:
    op = linear("x", 512, 256, 1024)
    fp8 = FormatPair.parse("fp8_e4m3")
    raw = run(op, chip(fp8, sram_bytes=64 * KIB), fp8, resident=10**12)
    coded = run(op, chip(fp8, sram_bytes=64 * KIB, codec="huffman"), fp8, resident=10**12)
    ratio = table("compression.yaml", "huffman")["fp8_e4m3"].value
    assert 1.1 < ratio < 2
    assert coded.dram_bytes[0] < raw.dram_bytes[0]
    one_row = linear("x", 1, 256, 1024)
    raw = run(one_row, chip(fp8), fp8, resident=10**12)
    coded = run(one_row, chip(fp8, codec="huffman"), fp8, resident=10**12)
    assert raw.dram_bytes[0] / coded.dram_bytes[0] == pytest.approx(ratio, rel=1e-3)


def test_a_codec_that_would_add_bytes_is_passed_by() -> None:
    op = linear("x", 1, 256, 1024)
    raw, coded = (run(op, chip(codec=codec), resident=10**12).dram_bytes[0] for codec in ("", "bitmap"))
    assert table("compression.yaml", "bitmap")["int8"].value < 1
    assert coded == raw


def test_lanes_of_the_vector_unit_follow_the_columns_unless_they_are_named() -> None:
    assert chip().vector_lanes == 32
    assert chip(vector_lanes=100).vector_lanes == 100
    assert AcceleratorGrid.of([chip(), chip(vector_lanes=100)]).vector_lanes.tolist() == [32, 100]
    with pytest.raises(InputError, match="vector_lanes must be positive, not -1"):
        chip(vector_lanes=-1)


def _pair(hidden: int) -> tuple[Operator, Operator]:
    """1024 rows through `hidden` columns and back to 32, the first result handed on."""
    first, second = linear("up", 1024, hidden, 32), linear("down", 1024, 32, hidden)
    return replace(first, feeds_next=True), replace(second, producer_weights=32 * hidden, line_elements=hidden)


def test_two_products_whose_weights_fit_together_hand_their_tensor_over_in_bands() -> None:
    """256 KiB: 64 KiB between them is the half that a tensor may take, 512 columns are 512 KiB; weights 2 x 16 KiB."""
    first, second = _pair(512)
    accelerator = chip(sram_bytes=256 * KIB)
    moved = [run(op, accelerator, resident=10**12).dram_bytes[0] for op in (first, second)]
    assert moved == pytest.approx([32 * 512, 32 * 512], rel=1e-3)
    apart = [
        run(op, accelerator, resident=10**12).dram_bytes[0]
        for op in (linear("up", 1024, 512, 32), linear("down", 1024, 32, 512))
    ]
    assert sum(apart) - sum(moved) >= 2 * 1024 * 512


def test_a_pair_that_does_not_fit_moves_as_much_as_two_products_apart() -> None:
    """2 x 64 KiB of weights are more than a quarter of 256 KiB; the second one pays for what the first one writes."""
    first, second = _pair(2048)
    accelerator = chip(sram_bytes=256 * KIB)
    pair = sum(run(op, accelerator, resident=10**12).dram_bytes[0] for op in (first, second))
    apart = sum(
        run(op, accelerator, resident=10**12).dram_bytes[0]
        for op in (linear("up", 1024, 2048, 32), linear("down", 1024, 32, 2048))
    )
    assert pair == pytest.approx(apart, rel=1e-3)
