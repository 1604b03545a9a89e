"""Conversion of designs, fronts and networks to the JSON models, for every kind of study."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from torch.nn.modules.batchnorm import _BatchNorm

from codesign.designs import (
    AcceleratorFacts,
    Candidate,
    Component,
    Design,
    DesignCost,
    Front,
    Goal,
    LayerFacts,
    Metric,
    TaskCost,
    TaskFacts,
    WorstSum,
)
from codesign.designs.design import design_id
from codesign.formats import Assignment
from codesign.hardware import Cost, cost
from codesign.models import Task
from codesign.quality import Quality
from codesign.quality.cache import code_version
from codesign.search.engine.pareto import hypervolume
from codesign.search.engine.points import Designs
from codesign.search.space.objectives import objective_value
from codesign.search.space.prices import cost_version
from codesign.search.space.resolve import SearchSpace
from codesign.search.study.log import versions
from codesign.workload import Workload


def front_of(
    space: SearchSpace,
    front: Designs,
    designs: Sequence[Design],
    *,
    seed: int,
    reference: np.ndarray,
    evaluations: int,
) -> Front:
    """The `Front` of a study.

    Args:
        space: the study's space.
        front: all non-dominated designs.
        designs: the reported designs, which represent them.
        seed: of the study.
        reference: reference point of the hypervolume [d].
        evaluations: number of measured candidates.
    """
    return Front(
        study=space.spec.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        space_hash=space.space_hash,
        code_version=code_version(),
        cost_version=cost_version(),
        made_with=versions(),
        seed=seed,
        objectives=tuple(Goal(name=o.name, unit=o.unit) for o in space.objectives),
        reference_point=tuple(float(v) for v in reference),
        hypervolume=hypervolume(front.objectives, reference),
        evaluations=evaluations,
        front_size=len(front),
        hardware_given=space.spec.hardware is not None,
        tasks={name: task_facts(space, name) for name in space.networks},
        designs=tuple(designs),
    )


def task_facts(space: SearchSpace, name: str) -> TaskFacts:
    """How the quality of a network of the space is defined, and on which data."""
    network = space.networks[name]
    return TaskFacts(
        task=space.spec.tasks[name].task,
        metric=network.task.deciding,
        unit=network.task.unit,
        scale=network.task.scale,
        ranges=network.ranges,
        data=network.task.data_fingerprint(),
        prepared=network.task.preparation.steps if network.task.preparation is not None else (),
    )


def batch_norms(task: Task) -> int:
    """The number of batch normalisations, which a chip would fold into the preceding convolutions."""
    return sum(isinstance(module, _BatchNorm) for module in task.module.modules())


def design_of(
    space: SearchSpace,
    accelerator_index: int,
    assignments: Mapping[str, Assignment],
    *,
    quality: Mapping[str, Quality],
    metrics: Mapping[str, Sequence[Quality]],
    accumulator: Mapping[str, WorstSum],
    told_apart: bool = True,
) -> Design:
    """One design, with its cost from the scalar cost model.

    Args:
        space: the study's space.
        accelerator_index: index into ``space.grid``.
        assignments: by network.
        quality: network -> its deciding metric; empty if nothing is measured.
        metrics: network -> all its metrics.
        accumulator: network -> its worst layer in the accumulator.
        told_apart: whether it is better than every cheaper design of the front by more than noise.
    """
    accelerator = space.grid[accelerator_index]
    tasks = {n: cost(space.workloads[n], accelerator, assignment) for n, assignment in assignments.items()}
    totals = _totals(tasks)
    values = {n: q.value for n, q in quality.items()}
    return Design(
        id=design_id(accelerator.to_dict(), {n: a.to_dict() for n, a in assignments.items()}),
        objectives={o.name: objective_value(o, values, totals) for o in space.objectives},
        quality={n: Metric.of(q).alone() for n, q in quality.items()},
        metrics={n: tuple(map(Metric.of, found)) for n, found in metrics.items()},
        cost=totals,
        accelerator=AcceleratorFacts.of(accelerator),
        assignments=dict(assignments),
        accumulator=dict(accumulator),
        told_apart=told_apart,
        candidate=Candidate(accelerator_index, assignments).key,
    )


def _totals(costs: Mapping[str, Cost]) -> DesignCost:
    """The cost of a design: its chip's area, and every other quantity summed over the networks."""
    first, networks = next(iter(costs.values())), list(costs.values())
    energy: dict[str, float] = {}
    for component in (component for network in networks for component in network.components):
        energy[component.name] = energy.get(component.name, 0.0) + component.energy_j
    components = [replace(component, energy_j=energy[component.name]) for component in first.components]
    summed = [field for field in DesignCost.model_fields if field in TaskCost.model_fields]
    return DesignCost(
        area_mm2=first.area_mm2,
        area_low_mm2=first.area_low_mm2,
        area_high_mm2=first.area_high_mm2,
        components=tuple(Component.model_validate(component, from_attributes=True) for component in components),
        tasks={name: TaskCost.model_validate(network, from_attributes=True) for name, network in costs.items()},
        **{field: sum(getattr(network, field) for network in networks) for field in summed},
    )


def layer_table(workload: Workload) -> tuple[LayerFacts, ...]:
    """The layers of a network in order, with their MACs for one result and their parameters."""
    macs: dict[str, int] = dict.fromkeys(workload.layers, 0)
    parameters: dict[str, int] = dict.fromkeys(workload.layers, 0)
    for op in workload.operators:
        macs[op.layer] += op.macs * workload.repeats.get(op.phase, 1)
        parameters[op.layer] = max(parameters[op.layer], op.weight_elements)
    kinds = workload.layer_kinds()
    return tuple(LayerFacts(name=n, kind=kinds[n], macs=macs[n], parameters=parameters[n]) for n in kinds)


def peak_memory_bytes() -> int:
    """The peak resident memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
