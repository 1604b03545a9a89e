"""Small study folders with designs of given formats, for what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHIP: dict[str, Any] = {
    "name": "grid-7",
    "pairs": ["int8:int8"],
    "accumulator": "auto",
    "dot": 16,
    "rows": 8,
    "columns": 8,
    "sram_bytes": 2**20,
    "dram": "lpddr5x_8533",
    "dram_channels": 2,
    "clock_hz": 1e9,
    "node_nm": 7,
}
_SUMMED = ("latency_s", "energy_j", "dram_bytes", "dram_capacity_bytes", "weight_bytes", "bitops")


def design(
    identifier: str, assignments: Mapping[str, Mapping[str, Any]], chip: Mapping[str, Any] = CHIP
) -> dict[str, Any]:
    """A design in its JSON form, with these formats on this chip; its costs are all one."""
    layer = {"name": "a", "kind": "linear", "pair": "int8:int8", "macs": 1, "bound": "dram", "utilisation": 1.0}
    layer |= {"latency_s": 1.0, "energy_j": 1.0, "dram_bytes": 1.0}
    task = {"parameters": 1, "macs": 1, "latency_per_pass_s": {}, "layers": [layer]} | dict.fromkeys(_SUMMED, 1.0)
    area = dict.fromkeys(("area_mm2", "area_low_mm2", "area_high_mm2"), 1.0)
    return {
        "id": identifier,
        "objectives": {"area_mm2": 1.0},
        "quality": {},
        "metrics": {},
        "cost": {
            **area,
            **dict.fromkeys(_SUMMED, 1.0),
            "components": [{"name": "mac_array", "area_mm2": 1.0, "energy_j": 1.0}],
            "tasks": dict.fromkeys(assignments, task),
        },
        "accelerator": dict(chip),
        "assignments": {name: dict(layers) for name, layers in assignments.items()},
        "accumulator": {},
    }


def write_front(folder: Path, designs: list[dict[str, Any]], space: str) -> Path:
    """A study's folder with front.json and space.yaml alone."""
    front = {
        "schema_version": 2,
        "study": "small",
        "created": "2026-01-02T03:04:05+00:00",
        "space_hash": "c0ffee",
        "code_version": "abc123",
        "seed": 0,
        "objectives": [{"name": "area_mm2", "unit": "mm2", "direction": "minimize"}],
        "reference_point": [2.0],
        "hypervolume": 1.0,
        "evaluations": 1,
        "front_size": len(designs),
        "designs": designs,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "front.json").write_text(json.dumps(front))
    (folder / "space.yaml").write_text(space)
    return folder
