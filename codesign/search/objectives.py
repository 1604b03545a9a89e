"""Names that a person may put under `objectives:` and `budgets:`, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codesign.errors import InputError, nearest
from codesign.workload import Workload

# field -> unit, for one task ("restore.latency_s") ...
TASK_FIELDS = {
    "quality": "",
    "latency_s": "s",
    "latency_per_token_s": "s",
    "energy_j": "J",
    "dram_bytes": "B",
    "dram_capacity_bytes": "B",
    "weight_bytes": "B",
    "bitops": "bit2",
}
# ... and for the whole design: the sum over tasks, except the area, which all tasks share.
_PER_TASK_ONLY = ("quality", "latency_per_token_s")
TOTAL_FIELDS = {"area_mm2": "mm2"} | {k: v for k, v in TASK_FIELDS.items() if k not in _PER_TASK_ONLY}


@dataclass(frozen=True)
class Objective:
    """One minimised number of a design; `task` is None for a total."""

    name: str
    unit: str
    task: str | None
    field: str
    direction: str = "minimize"

    def to_dict(self) -> dict[str, str]:
        return {"name": self.name, "unit": self.unit, "direction": self.direction}

    @property
    def is_quality(self) -> bool:
        return self.field == "quality"


def valid_names(workloads: Mapping[str, Workload]) -> list[str]:
    """Every objective that these networks have."""
    names = list(TOTAL_FIELDS)
    for task, workload in workloads.items():
        for field in TASK_FIELDS:
            if field != "latency_per_token_s" or "decode" in workload.phases:
                names.append(f"{task}.{field}")
    return names


def resolve_objective(name: str, workloads: Mapping[str, Workload]) -> Objective:
    """The Objective called `name`; raises InputError with the nearest valid one."""
    valid = valid_names(workloads)
    if name not in valid:
        raise InputError(f"unknown objective '{name}'{nearest(name, valid)}")
    task, _, field = name.rpartition(".")
    if not task:
        return Objective(name, TOTAL_FIELDS[field], None, field)
    return Objective(name, TASK_FIELDS[field], task, field)


def objective_value(objective: Objective, quality: Mapping[str, float], cost: Mapping[str, Any]) -> float:
    """The number of `objective` in a design's cost record (front.json) and deciding qualities."""
    if objective.is_quality:
        assert objective.task is not None
        return quality[objective.task]
    if objective.task is None:
        return float(cost[objective.field])
    record = cost["tasks"][objective.task]
    if objective.field == "latency_per_token_s":
        return float(record["latency_per_pass_s"]["decode"])
    return float(record[objective.field])
