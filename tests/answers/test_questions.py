"""Every question in a small form: its figures agree with the sum that one does by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from codesign.answers.answer import Answer
from codesign.answers.registry import QUESTIONS
from codesign.answers.sram_knee import knee
from codesign.errors import InputError


def ask(name: str, *options: str) -> Answer:
    question = QUESTIONS[name]
    return question.answer(question.asked(options), lambda _: None)


def rows(answer: Answer, table: int = 0) -> list[dict[str, Any]]:
    return [dict(row) for row in answer.tables[table].rows]


def test_options_are_written_as_key_and_value_and_only_the_unusual_stand_in_the_command() -> None:
    question = QUESTIONS["real-time"]
    options = question.asked(["rates=1,4", "formats=int8:int8,mxfp4"])
    assert options.written()["formats"] == "int8,mxfp4"
    assert question.command(options) == "codesign ask real-time formats=int8,mxfp4 rates=1,4"
    with pytest.raises(InputError, match="unknown key 'rate'; did you mean 'rates'"):
        question.asked(["rate=1"])


def test_a_faster_rate_takes_a_larger_chip_and_a_rate_beyond_the_grid_says_how_near_it_comes() -> None:
    found = rows(ask("real-time", "network=clip-l-text", "formats=int8", "rates=10,100,1e6"))
    assert found[0]["area_mm2"] < found[1]["area_mm2"]
    assert "area_mm2" not in found[2]
    assert found[2]["bound"].startswith("none: at best")


def test_tokens_are_bound_by_the_bytes_of_the_weights() -> None:
    answer = ask(
        "tokens", "network=qwen2.5-0.5b", "formats=int8", "drams=lpddr5x_8533", "rate=50", "flash_dram_gib=0.25"
    )
    from_dram, from_flash = answer.estimates
    assert from_dram.model == pytest.approx(from_dram.by_hand, rel=0.1)
    assert from_flash.model < from_dram.model
    chip, _ = rows(answer)
    assert float(chip["tokens_per_s"]) >= 50


def test_a_network_that_writes_no_tokens_is_refused() -> None:
    with pytest.raises(InputError, match="sd15-unet writes no tokens"):
        ask("tokens", "network=sd15-unet")


def test_the_knee_is_where_a_curve_of_two_slopes_bends() -> None:
    sizes = 2.0 ** np.arange(9)
    assert knee(list(sizes), np.where(sizes <= 16, 64 / sizes, 4 * (16 / sizes) ** 0.1)) == 4


def test_the_knee_of_a_unet_lies_where_its_largest_tensors_stay_on_chip() -> None:
    answer = ask("sram-knee", "network=sd15-unet", "images=256")
    held = answer.estimates[0]
    assert held.by_hand == pytest.approx(32 * 32 * 320 * 4)  # a quarter of the SRAM holds the first level's result
    assert held.model == pytest.approx(held.by_hand, rel=0.5)
    traffic = [row["dram_bytes"] for row in rows(answer)]
    assert all(after <= before for before, after in itertools.pairwise(traffic))


def test_fp8_against_int8_compares_units_and_chips_of_equal_size() -> None:
    answer = ask("fp8-or-int8", "network=clip-l-text", "tasks=none", "accumulators=fp32")
    units, chips = rows(answer, 0), rows(answer, 1)
    assert [row["formats"] for row in units] == ["int8", "fp8_e4m3"]
    assert units[1]["area_ratio"] > units[0]["area_ratio"] == 1
    assert chips[1]["array"] == chips[0]["array"]
    assert chips[1]["area_ratio"] > 1
    assert "better quality" not in answer.answer.lower()
    assert answer.answer.endswith("int8 is the better buy, quality left aside.")


@pytest.mark.slow
def test_at_an_older_node_logic_grows_more_than_sram_and_the_interface_not_at_all() -> None:
    answer = ask("older-node", "network=clip-l-text", "seconds=0.02", "plain=int8", "codesigned=int4_g32:int8")
    plain, plain_older, ours_newer, ours = rows(answer)
    node = answer.estimates[0]
    assert node.model == pytest.approx(node.by_hand, rel=0.1)
    interface = 4 * 0.23  # mm2 at either node: the share of an accelerator in four channels of 1 mm2
    shrunk = (plain_older["area_mm2"] - interface) / (plain["area_mm2"] - interface)
    assert 0.027 / 0.021 < shrunk < 1 / 0.53  # between an SRAM cell and logic
    assert ours["formats"] == ours_newer["formats"] == "int4_g32:int8, attention int8"
    assert all(row["latency_s"] <= 0.02 for row in (plain, plain_older, ours_newer, ours))
    assert all(0.5 < each.model / each.by_hand < 2.5 for each in answer.estimates)
    mm2 = 9346 / (np.pi * 150**2)  # USD for a wafer of 7 nm, over its area
    assert ours["usd"] == pytest.approx(ours["area_mm2"] * mm2, rel=0.01)


def test_the_older_node_must_be_older() -> None:
    with pytest.raises(InputError, match="older: 4 nm is no older node than newer=7"):
        ask("older-node", "older=4", "newer=7", "network=clip-l-text")


@pytest.mark.slow
def test_a_gpu_is_as_fast_as_its_lanes_and_larger_than_an_npu_of_equal_speed() -> None:
    answer = ask("phone-gpu", "networks=clip-l-text", "gpus=phone-gpu-tensor,server-fp32-class", "formats=fp16,fp32")
    half, half_npu, single, single_npu = rows(answer)
    for gpu, npu in ((half, half_npu), (single, single_npu)):
        assert npu["latency_s"] <= gpu["latency_s"]
        assert gpu["area_mm2"] > npu["area_mm2"]
        assert gpu["energy_j"] > npu["energy_j"]
    times = [each for each in answer.estimates if each.figure.startswith("time: ")]
    assert all(1 <= each.model / each.by_hand < 2 for each in times)  # no faster than lanes and DRAM allow
    lanes = [each for each in answer.estimates if each.figure.startswith("a lane of ")]
    assert [each.by_hand for each in lanes] == [121 / 64, 576 / 64]  # bits of the significands
    assert all(1 < each.model / each.by_hand < 3 for each in lanes)  # floats also align, and sum in floats


@pytest.mark.slow
def test_a_multiprocessor_of_the_model_is_smaller_than_its_share_of_the_whole_die() -> None:
    answer = ask("phone-gpu", "networks=clip-l-text", "gpus=server-fp16-class", "formats=fp16")
    die = answer.estimates[-1]
    assert die.by_hand == pytest.approx(826 / 128)
    assert 0.05 < die.model / die.by_hand < 1


@pytest.mark.slow  # two networks' worth of quality
def test_fp8_against_int8_measures_quality_with_its_interval() -> None:
    answer = ask("fp8-or-int8", "network=clip-l-text", "tasks=rewrite", "accumulators=auto")
    for row in rows(answer, 2):
        assert row["low"] <= row["value"] <= row["high"]
    assert "on rewrite" in answer.answer
    assert answer.answer.endswith("int8 is the better buy for rewrite; other networks differ.")
