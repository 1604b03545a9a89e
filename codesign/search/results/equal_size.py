"""Uniform formats at equal size: what each costs and loses on one and the same chip, but for its compute units.

The baselines compare formats on chips that suit each best; here array, SRAM and DRAM are those of the balanced design.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from codesign.designs import AtEqualSize, Metric
from codesign.errors import InputError
from codesign.hardware import Accelerator, Cost, cost
from codesign.search.results.baselines import measured_uniform
from codesign.search.study.study import OpenStudy

_ARRAY = "mac_array"  # the component of the compute units


def at_equal_size(study: OpenStudy, chip: Accelerator) -> tuple[AtEqualSize, ...]:
    """Every uniform format that was measured, on `chip` with units for it alone.

    Layers that are not free have the pair that they must take, which the units support too. A format that the chip
    cannot run, for its SRAM or DRAM, is left out.
    """
    if study.space.spec.hardware is None:
        return ()
    rows: dict[tuple[tuple[str, int], ...], str] = {}  # two methods are one design where no network has both
    for column, pair in enumerate(study.space.pairs):
        if index := measured_uniform(study, column):
            rows.setdefault(tuple(index.items()), str(pair))
    found = (_of(study, chip, pair, dict(index)) for index, pair in rows.items())
    return tuple(each for each in found if each is not None)


def _of(study: OpenStudy, chip: Accelerator, pair: str, index: Mapping[str, int]) -> AtEqualSize | None:
    """One format; index: network -> row of its assignment among those that were measured."""
    space = study.space
    choices = {name: study.measured[name].choices[row] for name, row in index.items()}
    needed = np.unique(np.concatenate(list(choices.values())))
    units = tuple(sorted({space.pairs[place].datapath for place in needed}))
    try:
        own = replace(chip, pairs=units)
        costs = {n: cost(space.workloads[n], own, net.assignment(choices[n])) for n, net in space.networks.items()}
    except InputError:  # no unit has these pairs, or a tile or the network does not fit
        return None
    first = next(iter(costs.values()))
    return AtEqualSize(
        pair=pair,
        pairs=tuple(map(str, units)),
        area_mm2=first.area_mm2,
        area_low_mm2=first.area_low_mm2,
        area_high_mm2=first.area_high_mm2,
        array_mm2=sum(c.area_mm2 for c in first.components if c.name == _ARRAY),
        latency_s={name: each.latency_s for name, each in costs.items()},
        energy_j={name: each.energy_j for name, each in costs.items()},
        array_j=sum(map(_array_energy, costs.values())),
        quality={name: Metric.of(study.measured[name].qualities[row]).alone() for name, row in index.items()},
    )


def _array_energy(found: Cost) -> float:
    return sum(component.energy_j for component in found.components if component.name == _ARRAY)
