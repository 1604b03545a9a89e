"""The hardware axes of a space as Optuna parameters and as table columns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.hardware import AcceleratorGrid
from codesign.hardware.chip.accelerator import all_axes
from codesign.search.space.resolve import SearchSpace


def hardware_choices(space: SearchSpace) -> dict[str, Sequence[str]]:
    """The choices of each hardware axis with several values, in the order of the grid.

    They are strings, as Optuna's samplers do not handle choices of mixed types.
    """
    hw = space.spec.chip
    axes: dict[str, Sequence[str]] = {"unit": ["+".join(map(str, pairs)) for pairs in hw.units.resolve()]}
    axes |= {name: [axis.text(value) for value in hw.listed(axis)] for name, axis in all_axes().items()}
    return {axis: values for axis, values in axes.items() if len(values) > 1}


def hardware_parameters(space: SearchSpace, index: int) -> dict[str, str]:
    """The values of `hardware_choices` for the accelerator `index` of the grid."""
    choices = hardware_choices(space)
    position = np.unravel_index(index, [len(values) for values in choices.values()])
    return {axis: values[int(i)] for (axis, values), i in zip(choices.items(), position, strict=True)}


def grid_parameters(grid: AcceleratorGrid, index: int) -> dict[str, object]:
    """The parameters of an accelerator as in `Accelerator.to_dict`, without constructing it, which is slow."""
    unit = grid.units[grid.unit[index]]
    of_unit = {"pairs": "+".join(map(str, unit.pairs)), "accumulator": unit.accumulator, "dot": unit.dot}
    of_unit["node_nm"] = unit.node_nm
    return of_unit | {axis: grid.value(axis, index) for axis in grid.values}
