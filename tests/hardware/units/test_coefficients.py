"""Every coefficient carries its provenance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from codesign.hardware.units.coefficients import DATA, Coefficient, at_node, read_data, table


def coefficients(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "value" in node:
            yield node
        else:
            for child in node.values():
                yield from coefficients(child)


@pytest.mark.parametrize("name", [p.name for p in sorted(DATA.glob("*.yaml"))])
def test_every_coefficient_has_value_unit_source_and_quality(name: str) -> None:
    rows = list(coefficients(read_data(name)))
    assert rows
    for row in rows:
        Coefficient.of(row)


def test_a_coefficient_without_a_source_is_refused() -> None:
    with pytest.raises(ValueError, match="source"):
        Coefficient.of({"value": 1, "unit": "mm2", "quality": "assumption"})


def test_a_value_outside_its_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="interval"):
        Coefficient.of({"value": 1, "low": 2, "unit": "mm2", "source": "x", "quality": "assumption"})


def test_a_node_between_two_tabled_ones_lies_between_them() -> None:
    assert at_node("nodes.yaml", "logic_area", 5).value < at_node("nodes.yaml", "logic_area", 6).value < 1


def test_a_node_outside_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="3 to 45 nm"):
        at_node("nodes.yaml", "logic_area", 90)


def test_sram_read_energy_reproduces_the_published_points() -> None:
    sram = table("memory.yaml", "sram")
    for kib, pj_per_64_bit in ((8, 7.5), (32, 8.5), (1024, 14.0)):
        read = sram["read_floor_pj_per_byte"].value + sram["read_slope_pj_per_byte"].value * kib**0.5
        assert read * 8 == pytest.approx(pj_per_64_bit, rel=0.06)
