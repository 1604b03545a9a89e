"""Names that a person may put under `objectives:` and `budgets:`, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from codesign.designs import DesignCost
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
# What a person may need to know of these beyond their names.
MEANING = {
    "quality": "the network's deciding metric: a loss against the float network or the data, smaller is better",
    "area_mm2": "of the chip: compute units, SRAM, vector unit, DRAM interface",
    "latency_s": "of one result, all passes",
    "latency_per_token_s": "of one decode pass",
    "energy_j": "of one result, all passes",
    "dram_bytes": "moved for one result",
    "dram_capacity_bytes": "held in DRAM",
    "weight_bytes": "stored, with the scales of blocks and groups, before a codec",
    "bitops": "MACs x weight bits x activation bits, of the elements alone: int4_g32 counts 4 bits, not 4.5",
}
# Known from formats alone, so that a space of these needs no hardware.
WITHOUT_HARDWARE = ("quality", "weight_bytes", "bitops")
# ... and for the whole design: the sum over tasks, except the area, which all tasks share.
_PER_TASK_ONLY = ("quality", "latency_per_token_s")
SUMMED = tuple(field for field in TASK_FIELDS if field not in _PER_TASK_ONLY)
TOTAL_FIELDS = {"area_mm2": "mm2"} | {field: TASK_FIELDS[field] for field in SUMMED}


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


def valid_names(workloads: Mapping[str, Workload], fixed: Collection[str] = ()) -> list[str]:
    """Every objective that these networks have; the formats of those in `fixed` are given, and nothing is measured."""
    names = list(TOTAL_FIELDS)
    for task, workload in workloads.items():
        for field in TASK_FIELDS:
            if field == "latency_per_token_s" and "decode" not in workload.phases:
                continue
            if field != "quality" or task not in fixed:
                names.append(f"{task}.{field}")
    return names


def resolve_objective(
    name: str,
    workloads: Mapping[str, Workload],
    fixed: Collection[str] = (),
    units: Mapping[str, str] = MappingProxyType({}),
) -> Objective:
    """The Objective called `name`; raises InputError with the nearest valid one. units: of each network's quality."""
    valid, (task, _, field) = valid_names(workloads, fixed), name.rpartition(".")
    if field == "quality" and task in fixed:
        raise InputError(
            f"'{name}' is not measured: the formats of '{task}' are given and no network is run, only priced"
        )
    if name not in valid:
        raise InputError(f"unknown objective '{name}'{nearest(name, valid)}")
    if not task:
        return Objective(name, TOTAL_FIELDS[field], None, field)
    return Objective(name, units.get(task, "") if field == "quality" else TASK_FIELDS[field], task, field)


def column(
    objective: Objective,
    area: np.ndarray,
    quality: Mapping[str, np.ndarray],
    costs: Mapping[str, Mapping[str, np.ndarray]],
) -> np.ndarray:
    """`objective` of many designs [n], from their area [n], their quality by task and their costs by task and field."""
    if objective.field == "area_mm2":
        return area
    if objective.task is None:
        return np.asarray(np.sum([cost[objective.field] for cost in costs.values()], axis=0))
    return quality[objective.task] if objective.is_quality else costs[objective.task][objective.field]


def objective_value(objective: Objective, quality: Mapping[str, float], cost: DesignCost) -> float:
    """The number of `objective` in a design's cost record (front.json) and deciding qualities."""
    if objective.is_quality:
        assert objective.task is not None
        return quality[objective.task]
    if objective.task is None:
        return float(getattr(cost, objective.field))
    network = cost.tasks[objective.task]
    if objective.field == "latency_per_token_s":
        return network.latency_per_pass_s["decode"]
    return float(getattr(network, objective.field))
