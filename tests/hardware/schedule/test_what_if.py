"""The roofline position of each operator, and what one change at a time would buy."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf

import pytest

from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware import cost
from codesign.hardware.schedule.roofline import bound_shares, roofline
from codesign.hardware.schedule.what_if import CHANGES, FORMATS, what_if
from codesign.workload import Workload
from tests.hardware.cases import FP8, INT8, chip, decoder, unet

INT4 = FormatPair("int4", "int4")


def uniform(workload: Workload, pair: FormatPair) -> Assignment:
    kinds = workload.layer_kinds()
    return Assignment.of({n: LayerFormats.of_pair(pair, attention=k == "attention") for n, k in kinds.items()})


@pytest.mark.parametrize("workload", [decoder(), unet()], ids=lambda w: w.name)
def test_no_operator_stands_above_its_roof(workload: Workload) -> None:
    points = roofline(workload, chip(), uniform(workload, INT8))
    assert len(points) == len(workload.operators)
    assert all(point.macs_per_s <= point.roof_macs_per_s * (1 + 1e-9) for point in points)
    assert sum(point.share for point in points) == pytest.approx(1)
    assert [point.share for point in points] == sorted((point.share for point in points), reverse=True)


def test_shares_of_bounds_agree_with_the_cost_of_the_layers() -> None:
    workload = decoder()
    shares = bound_shares(roofline(workload, chip(), uniform(workload, INT8)))
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) >= {layer.bound for layer in cost(workload, chip(), uniform(workload, INT8)).layers}


def test_an_operator_without_traffic_has_an_infinite_intensity_that_json_can_hold() -> None:
    workload = unet()
    points = roofline(workload, chip(sram_bytes=2**26), uniform(workload, INT8))
    still = [point for point in points if point.macs_per_byte == inf]
    assert still
    json.dumps([point.to_dict() for point in still], allow_nan=False)
    assert still[0].roof_macs_per_s == 8 * 8 * 16 * 1e9


def test_a_variant_is_the_cost_of_the_changed_accelerator() -> None:
    workload, accelerator = unet(), chip()
    found = {v.name: v for v in what_if(workload, accelerator, uniform(workload, INT8))}
    assert set(found) == {*CHANGES, *FORMATS} - {"INT8 units"}
    doubled = cost(workload, replace(accelerator, sram_bytes=2 * accelerator.sram_bytes), uniform(workload, INT8))
    assert found["2x SRAM"].latency_s == doubled.latency_s
    assert found["2x SRAM"].area_mm2 == doubled.area_mm2
    assert not found["2x SRAM"].requantized
    assert found["FP8 units"].requantized
    assert found["FP8 units"].energy_j == cost(workload, chip(FP8), uniform(workload, FP8)).energy_j


def test_four_bits_change_energy_of_macs_traffic_capacity_and_latency() -> None:
    """Each by its own part: MAC energy, DRAM bytes, what DRAM holds, and the time of a decoder bound by DRAM."""
    workload = decoder()
    eight, four = (cost(workload, chip(pair), uniform(workload, pair)) for pair in (INT8, INT4))
    parts = {c.name: (c.energy_j, d.energy_j) for c, d in zip(eight.components, four.components, strict=True)}
    assert parts["mac_array"][1] < parts["mac_array"][0]
    assert parts["dram_interface"][1] < 0.75 * parts["dram_interface"][0]
    assert four.dram_bytes < 0.75 * eight.dram_bytes
    assert four.weight_bytes == pytest.approx(4 / 8 * eight.weight_bytes)
    assert four.dram_capacity_bytes < eight.dram_capacity_bytes
    assert four.latency_s < eight.latency_s


def test_a_change_that_cannot_be_says_why() -> None:
    workload = unet()
    found = {v.name: v for v in what_if(workload, chip(sram_bytes=1024), uniform(workload, INT8))}
    assert "hold no tile" in found["half SRAM"].problem
    assert found["half SRAM"].latency_s is None
    assert not found["2x SRAM"].problem
