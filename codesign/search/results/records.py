"""What is written down of a design, and which designs stand for a front: the same for every kind of study."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from codesign.formats import Assignment
from codesign.hardware import cost
from codesign.models import Task
from codesign.quality.cache import code_version
from codesign.search.engine.pareto import hypervolume
from codesign.search.engine.points import Designs
from codesign.search.space.objectives import TASK_FIELDS, TOTAL_FIELDS, objective_value
from codesign.search.space.resolve import SearchSpace
from codesign.workload import Workload

SCHEMA_VERSION = 1
UNFOLDED = (
    "{} batch normalisations are not folded; where one follows a convolution a chip would: latency and energy are too "
    "high then, and weights are quantized without their scales."
)


def front_record(
    space: SearchSpace,
    front: Designs,
    designs: list[dict[str, Any]],
    *,
    seed: int,
    reference: np.ndarray,
    evaluations: int,
) -> dict[str, Any]:
    """The content of front.json; `designs` are the records of those that stand for `front`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "study": space.spec.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "space_hash": space.space_hash,
        "code_version": code_version(),
        "seed": seed,
        "objectives": [o.to_dict() for o in space.objectives],
        "reference_point": [float(v) for v in reference],
        "hypervolume": hypervolume(front.objectives, reference),
        "evaluations": evaluations,
        "front_size": len(front),
        "hardware_given": space.spec.hardware is not None,
        "tasks": {name: task_record(space, name) for name in space.networks},
        "designs": designs,
    }


def task_record(space: SearchSpace, name: str) -> dict[str, Any]:
    """What a network's quality is, and on what data: studies that differ in it compare in nothing."""
    network = space.networks[name]
    return {
        "task": space.spec.tasks[name].task,
        "metric": network.task.deciding,
        "unit": network.task.unit,
        "scale": network.task.scale,
        "ranges": network.ranges,
        "data": network.task.data_fingerprint(),
    }


def batch_norms(task: Task) -> int:
    """How many batch normalisations the network has, which a chip would fold into the convolutions before them."""
    return sum(isinstance(module, _BatchNorm) for module in task.module.modules())


def design_record(
    space: SearchSpace,
    accelerator_index: int,
    assignments: Mapping[str, Assignment],
    quality: Mapping[str, dict[str, Any]],
    metrics: Mapping[str, list[dict[str, Any]]],
) -> dict[str, Any]:
    """One design, its cost computed by the scalar model from its named parts."""
    accelerator = space.grid[accelerator_index]
    tasks = {n: cost(space.workloads[n], accelerator, assignment).to_dict() for n, assignment in assignments.items()}
    totals = _totals(tasks)
    values = {o.name: objective_value(o, {n: q["value"] for n, q in quality.items()}, totals) for o in space.objectives}
    record = {
        "id": "",
        "objectives": values,
        "quality": dict(quality),
        "metrics": dict(metrics),
        "cost": totals,
        "accelerator": accelerator.to_dict(),
        "assignments": {n: a.to_dict() for n, a in assignments.items()},
    }
    record["id"] = _design_id(record)
    return record


def _design_id(record: dict[str, Any]) -> str:
    text = json.dumps([record["accelerator"], record["assignments"]], sort_keys=True)
    return "d" + hashlib.sha256(text.encode()).hexdigest()[:8]


def _totals(tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Cost of the whole design: the chip once, everything else summed over the networks."""
    first = next(iter(tasks.values()))
    shared = ("area_mm2", "area_low_mm2", "area_high_mm2")
    total: dict[str, Any] = {k: first[k] for k in shared if k in first}
    for field in TOTAL_FIELDS:
        if field != "area_mm2":
            total[field] = sum(record[field] for record in tasks.values())
    energy: dict[str, float] = {}
    for record in tasks.values():
        for part in record["components"]:
            energy[part["name"]] = energy.get(part["name"], 0.0) + part["energy_j"]
    total["components"] = [{**part, "energy_j": energy[part["name"]]} for part in first["components"]]
    keep = ("parameters", "macs", "latency_per_pass_s", "layers", *TASK_FIELDS)
    total["tasks"] = {n: {k: r[k] for k in keep if k in r} for n, r in tasks.items()}
    return total


def layer_table(workload: Workload) -> list[dict[str, Any]]:
    """name, kind, MACs a result and parameters of each layer."""
    kinds = workload.layer_kinds()
    rows: dict[str, dict[str, Any]] = {n: {"name": n, "kind": k, "macs": 0, "parameters": 0} for n, k in kinds.items()}
    for op in workload.operators:
        rows[op.layer]["macs"] += op.macs * workload.repeats.get(op.phase, 1)
        rows[op.layer]["parameters"] = max(rows[op.layer]["parameters"], op.weight_elements)
    return list(rows.values())


def dominator(record: dict[str, Any], designs: Iterable[dict[str, Any]]) -> str | None:
    """The id of the first of `designs` that is as good as `record` in every objective and better in one."""
    values = np.array(list(record["objectives"].values()))
    for design in designs:
        others = np.array(list(design["objectives"].values()))
        if (others <= values).all() and (others < values).any():
            return str(design["id"])
    return None


def peak_memory_bytes() -> int:
    """The most that this process had in memory so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
