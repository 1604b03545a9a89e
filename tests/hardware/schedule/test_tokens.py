"""The cost of scales per token: more work of the vector unit, on the same compute unit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codesign.formats import FormatPair
from codesign.hardware import AcceleratorGrid, cost, cost_tables
from codesign.hardware.schedule.footprint import Footprint
from codesign.hardware.schedule.machine import Machine, OperatorCost
from codesign.hardware.units.mac import VECTOR_PAIR, vector_mac
from codesign.workload.types import Operator
from tests.hardware.cases import INT8, attention, chip, decoder, linear, uniform

TOKEN = FormatPair("int8", "int8_token")
KEYS = FormatPair("int8_token", "int8")
CHIP = chip()
LANE_J = vector_mac(CHIP.unit).energy_pj(VECTOR_PAIR).value * 1e-12
CONV = Operator("conv", "conv", "forward", 64, 16, 72, 1, 64 * 8, 16 * 72, 64 * 16, calls=2)


def run(op: Operator, pair: FormatPair, sram_bytes: int = CHIP.sram_bytes) -> OperatorCost:
    zero, grid = np.zeros(1, dtype=np.int64), AcceleratorGrid.of([replace(CHIP, sram_bytes=sram_bytes)])
    return Machine(grid, [pair], Footprint(op.stationary_elements, 0, 0, 0.0), zero, zero).run(op, 1)


def more(op: Operator, pair: FormatPair) -> float:
    """The cycles of a lane of the vector unit that a pair takes beyond those of int8."""
    found, plain = run(op, pair), run(op, INT8)
    cycles = float(found.vector_s[0] - plain.vector_s[0]) * CHIP.vector_lanes * CHIP.clock_hz
    assert found.energy_j[0] - plain.energy_j[0] == pytest.approx(cycles * LANE_J)
    assert (found.compute_s, found.sram_bytes, found.mac_j) == (plain.compute_s, plain.sram_bytes, plain.mac_j)
    return cycles


def test_a_linear_layer_reads_its_input_once_and_scales_each_result() -> None:
    assert more(linear("x", 32, 48, 64), TOKEN) == pytest.approx(32 * 64 + 32 * 48)


def test_a_convolution_reads_each_pixel_once_whatever_its_taps() -> None:
    assert more(CONV, TOKEN) == pytest.approx(2 * (64 * 8 + 64 * 16))


def test_a_zero_point_takes_a_second_bound() -> None:
    op = linear("x", 32, 48, 64)
    pair = FormatPair("int8", "int8_zp_token")
    wider = replace(CHIP, pairs=(FormatPair("int8", "int8_zp"),))
    zero, grid = np.zeros(1, dtype=np.int64), AcceleratorGrid.of([wider])
    found = Machine(grid, [pair], Footprint(op.stationary_elements, 0, 0, 0.0), zero, zero).run(op, 1)
    assert found.vector_s[0] * CHIP.vector_lanes * CHIP.clock_hz == pytest.approx(2 * 32 * 64 + 32 * 48)


def test_queries_and_probabilities_are_scaled_per_token() -> None:
    for op in attention("x", 8, 24, 16, 4, "prefill"):
        assert more(op, TOKEN) == pytest.approx(op.input_elements + op.output_elements)


def test_of_a_cache_only_the_new_keys_and_values_are_read_for_their_range() -> None:
    for op in attention("x", 1, 24, 16, 4, "decode"):
        assert more(op, KEYS) == pytest.approx(16 * 4)


def test_a_weight_per_token_costs_nothing_more() -> None:
    assert more(linear("x", 32, 48, 64), KEYS) == 0


def test_tokens_pass_while_the_product_runs_and_a_sample_before_it() -> None:
    assert run(linear("x", 32, 48, 64), TOKEN).after_s[0] == 0
    assert run(CONV, TOKEN).after_s[0] > 0


def test_a_spilled_sample_is_read_once_more() -> None:
    op = replace(CONV, m=64 * 1024, input_elements=64 * 1024 * 8, output_elements=64 * 1024 * 16, calls=1)
    small = 128 * 1024
    more = run(op, TOKEN, small).dram_bytes - run(op, INT8, small).dram_bytes
    assert more[0] == op.input_elements


def test_a_convolution_that_waits_for_its_sample_is_not_fused_with_its_producer() -> None:
    op = replace(CONV, m=64 * 1024, input_elements=64 * 1024 * 8, output_elements=8, calls=1)
    fused, small = replace(op, line_elements=8, producer_weights=8), 128 * 1024
    assert run(fused, INT8, small).dram_bytes[0] < run(op, INT8, small).dram_bytes[0]
    written = run(fused, TOKEN, small).dram_bytes - run(op, TOKEN, small).dram_bytes
    assert written[0] == op.input_elements  # which is charged to the producer otherwise


def test_a_chip_for_int8_runs_int8_token_and_the_other_way_round() -> None:
    found = [
        cost(decoder(), chip(offered), uniform(decoder(), wanted))
        for offered, wanted in ((INT8, TOKEN), (TOKEN, TOKEN))
    ]
    assert found[0] == found[1]
    assert chip(TOKEN) == chip(INT8)


def test_the_cost_of_a_network_is_that_of_int8_and_of_its_scales() -> None:
    plain, token = (cost(decoder(), CHIP, uniform(decoder(), pair)) for pair in (INT8, TOKEN))
    cycles = sum(
        (op.input_elements + op.m * op.n * op.count) * decoder().repeats[op.phase] for op in decoder().operators
    )
    by_name = {c.name: c.energy_j for c in plain.components}
    for component in token.components:
        extra = cycles * LANE_J if component.name == "vector_unit" else 0.0
        assert component.energy_j == pytest.approx(by_name[component.name] + extra, rel=1e-12)
    assert (token.area_mm2, token.dram_bytes, token.bitops) == (plain.area_mm2, plain.dram_bytes, plain.bitops)
    assert token.latency_s >= plain.latency_s


def test_tables_price_both_kinds_of_scales_beside_each_other() -> None:
    tables = cost_tables(decoder(), AcceleratorGrid.of([CHIP]), [INT8, TOKEN], np.float64)
    choices = np.repeat([[0], [1]], len(tables.layers), axis=1)
    found = tables.evaluate(choices)["energy_j"][0]
    assert found == pytest.approx([cost(decoder(), CHIP, uniform(decoder(), p)).energy_j for p in (INT8, TOKEN)])
