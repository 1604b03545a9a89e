"""A measured design of a running study as a `Design`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from codesign.designs import Design, WorstSum
from codesign.search.engine.points import Designs
from codesign.search.results.records import design_of
from codesign.search.study.study import OpenStudy


def measured_design(
    study: OpenStudy,
    designs: Designs,
    row: int,
    accumulator: Mapping[str, WorstSum] = MappingProxyType({}),
    *,
    told_apart: bool = True,
    full: bool,
) -> Design:
    """One measured design; with `full` every metric of its networks is measured."""
    index = {name: int(designs.index[name][row]) for name in study.space.networks}
    assignments = {
        name: network.assignment(study.measured[name].choices[index[name]])
        for name, network in study.space.networks.items()
    }
    metrics = {n: study.evaluators[n].metrics(a) for n, a in assignments.items()} if full else {}
    return design_of(
        study.space,
        int(designs.accelerator[row]),
        assignments,
        quality={name: study.measured[name].qualities[i] for name, i in index.items()},
        metrics=metrics,
        accumulator=accumulator,
        told_apart=told_apart,
    )
