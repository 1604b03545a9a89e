"""Objectives and budgets: a cost metric or the quality, of one network or of the whole design."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from codesign.designs import DesignCost, TaskCost
from codesign.errors import InputError, nearest
from codesign.search.space.cost_metrics import AREA, COST_METRICS, QUALITY, CostMetric, all_metrics, cost_metric
from codesign.workload import Workload


@dataclass(frozen=True)
class Objective:
    """A quantity of a design that is minimised, or bounded as a budget."""

    name: str  # NAME, or TASK.NAME
    unit: str
    task: str | None  # None for the whole design
    field: str  # name of the metric
    direction: str = "minimize"
    row: CostMetric | None = None  # the metric, if not built in; without it an unknown `field` is a cost column

    def to_dict(self) -> dict[str, str]:
        """Name, unit and direction, for JSON."""
        return {"name": self.name, "unit": self.unit, "direction": self.direction}

    @property
    def is_quality(self) -> bool:
        """Whether it is the measured quality of a network."""
        return self.field == QUALITY

    @cached_property
    def metric(self) -> CostMetric:
        """Its metric."""
        return self.row or COST_METRICS.get(self.field) or CostMetric(self.field, self.unit, "", (self.field,))


def valid_names(
    metrics: Iterable[CostMetric], workloads: Mapping[str, Workload], fixed: Collection[str] = ()
) -> list[str]:
    """The names of all objectives of these networks; those in `fixed` have given formats, and no quality."""
    names = []
    for metric in metrics:
        having = [task for task, workload in workloads.items() if metric.defined_for(workload)]
        if metric.total and len(having) == len(workloads):
            names.append(metric.name)
        if metric.per_task:
            names += [f"{task}.{metric.name}" for task in having if metric.name != QUALITY or task not in fixed]
    return names


def resolve_objective(
    name: str,
    workloads: Mapping[str, Workload],
    fixed: Collection[str] = (),
    units: Mapping[str, str] = MappingProxyType({}),
    deciding: Mapping[str, str] = MappingProxyType({}),
) -> Objective:
    """The Objective `name`; raises InputError with the nearest valid name.

    Args:
        name: NAME, or TASK.NAME.
        workloads: the space's networks.
        fixed: those whose formats are given.
        units: unit of each network's quality.
        deciding: the metric that decides each network's quality, which is another name of it.
    """
    task, _, field = name.rpartition(".")
    if deciding.get(task) == field:
        name, field = f"{task}.{QUALITY}", QUALITY
    if field == QUALITY and task in fixed:
        raise InputError(
            f"'{name}' is not measured: the formats of '{task}' are given and no network is run, only priced"
        )
    metric = cost_metric(field)
    if metric is None or name not in valid_names([metric], workloads, fixed):
        raise InputError(f"unknown objective '{name}'{nearest(name, valid_names(all_metrics(), workloads, fixed))}")
    unit = units.get(task, "") if field == QUALITY else metric.unit
    return Objective(name, unit, task or None, field, row=metric)


def column(
    objective: Objective,
    area: np.ndarray,
    quality: Mapping[str, np.ndarray],
    costs: Mapping[str, Mapping[str, np.ndarray]],
) -> np.ndarray:
    """The values of an objective for n designs, [n].

    Args:
        objective: the objective.
        area: mm2 [n].
        quality: task -> [n].
        costs: task -> cost column -> [n].
    """
    task, metric = objective.task, objective.metric
    if objective.is_quality:
        assert task is not None
        return quality[task]

    def of(name: str) -> np.ndarray:
        if name == AREA:
            return area
        return np.asarray(np.sum([c[name] for c in costs.values()], axis=0)) if task is None else costs[task][name]

    return metric.value([of(name) for name in metric.of])


def objective_value(objective: Objective, quality: Mapping[str, float], cost: DesignCost) -> float:
    """The value of an objective for one design, from its cost in front.json and its deciding metrics."""
    task, metric = objective.task, objective.metric
    if objective.is_quality:
        assert task is not None
        return quality[task]
    networks = list(cost.tasks.values()) if task is None else [cost.tasks[task]]
    columns = [cost.area_mm2 if c == AREA else sum(_recorded(network, c) for network in networks) for c in metric.of]
    return float(metric.value([np.array([value]) for value in columns])[0])


def _recorded(cost: TaskCost, name: str) -> float:
    """The value of a cost column in the cost of one network in front.json."""
    return cost.latency_per_pass_s["decode"] if name == "latency_per_token_s" else float(getattr(cost, name))
