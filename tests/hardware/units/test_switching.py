"""Operands as a unit reads them, and what toggles on them."""

from __future__ import annotations

import numpy as np
import pytest

from codesign.formats import FormatPair, format_names, get_format
from codesign.hardware.rtl import Unit
from codesign.hardware.rtl.analyse import events
from codesign.hardware.units.activities import NETWORKS, activities
from codesign.hardware.units.operand_streams import ROWS, layer_codes, masks, port_words, quantized
from codesign.hardware.units.switching import switching

INT8 = Unit((FormatPair.parse("int8"),), "int32", 2)


@pytest.mark.parametrize("name", ["int8", "int8_g64", "nvfp4", "int4_g32_zp", "mxfp6_e2m3"])
def test_the_stored_codes_are_those_that_the_quantizer_gives(name: str) -> None:
    for activity in NETWORKS:
        for side in ("weight", "activation"):
            for stored, made in zip(layer_codes(name, side, activity), quantized(name, side, activity), strict=True):
                assert np.array_equal(stored.codes, made.codes)
                assert (stored.scales is None) == (made.scales is None)
                if stored.scales is not None:
                    assert np.array_equal(stored.scales, made.scales)


def test_a_format_with_more_bits_than_the_operands_has_random_ones_below_them() -> None:
    stored, filled = quantized("fp32", "weight", "rewrite"), layer_codes("fp32", "weight", "rewrite")
    assert not (stored[0].codes & 0x1FFF).any()  # the operands are float16
    assert np.mean(filled[0].codes & 1) == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(filled[0].codes & ~0x1FFF, stored[0].codes)


def test_a_format_of_the_grammar_is_quantized_from_the_operands() -> None:
    unit = Unit((FormatPair.parse("lns6_i3f2:int5_g16"),), "fp32", 2)
    found = switching(unit, 0, NETWORKS)
    assert (found.settled.sum(axis=1) > 0).all()


def test_streams_are_runs_of_products_of_one_output() -> None:
    cycles = 8
    ports = port_words(INT8, 0, cycles, 64, ("restore",))
    bits = np.unpackbits(ports["w"].view(np.uint8), axis=-1, bitorder="little")  # [cycles, 16, streams]
    first = np.unpackbits(ports["first"].view(np.uint8), axis=-1, bitorder="little")[:, 0]
    low = (bits[:, :8].astype(np.int64) << np.arange(8)[:, None]).sum(axis=1)
    layer = layer_codes("int8", "weight", "restore")[0].codes & 255
    assert low[:, 0].tolist() == layer[0, : 2 * cycles : 2].tolist()  # two products a step: the even places
    assert first[:, 0].tolist() == [1] + [0] * (cycles - 1)
    assert 0 < first[1:].mean() < 0.1  # of other streams the next sum begins after some steps
    assert layer.shape[0] == ROWS


def test_every_stream_begins_a_sum_so_that_nothing_depends_on_what_flip_flops_hold_at_first() -> None:
    looped = Unit((FormatPair.parse("fp8_e4m3"),), "fp32", 2, frozenset({"fp_align", "fp_add"}))
    first = port_words(looped, 0, 8, 64, activities())["first"]
    assert looped.interleave > 1
    assert (first[: looped.interleave] == events.ALL).all()


def test_the_streams_of_activities_follow_each_other() -> None:
    found = masks(40, 2)
    assert found.shape == (2, 2)
    assert [int(row) for row in np.bitwise_count(found).sum(axis=1)] == [40, 40]
    assert not (found[0] & found[1]).any()


def test_an_activity_toggles_alike_alone_and_beside_others() -> None:
    every, alone = switching(INT8, 0, activities()), switching(INT8, 0, ("noise",))
    assert every.settled[-1] == pytest.approx(alone.settled[0])
    assert every.glitches[-1] == pytest.approx(alone.glitches[0])


def test_operands_of_networks_toggle_less_than_noise_and_registers_cut_glitches() -> None:
    found = switching(Unit((FormatPair.parse("int2"),), "int24", 8), 0, activities())
    assert (found.settled.sum(axis=1)[:2] < found.settled.sum(axis=1)[2]).all()
    fp8 = Unit((FormatPair.parse("fp8_e4m3"),), "fp32", 2)
    whole, cut = (switching(unit, 0, NETWORKS) for unit in (fp8, fp8.cut({"align", "sum", "fp_add"})))
    assert cut.registers > whole.registers
    assert (cut.glitches.sum(axis=1) < 0.8 * whole.glitches.sum(axis=1)).all()


def test_codes_are_stored_for_every_named_format() -> None:
    from codesign.hardware.units.operand_streams import _codes

    stored = _codes()
    for name in format_names():
        assert get_format(name).per_token or f"restore/weight/{name}" in stored
