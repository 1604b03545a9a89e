"""The hardware of a space as Optuna's parameters, and as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.hardware import AcceleratorGrid
from codesign.hardware.chip.accelerator import all_axes
from codesign.search.space.resolve import SearchSpace


def hardware_choices(space: SearchSpace) -> dict[str, Sequence[str]]:
    """Optuna's categorical choices, axes in the order of the grid: strings, as mixed types confuse its samplers.

    Axes with one value are left out: nothing is chosen there.
    """
    hw = space.spec.chip
    axes: dict[str, Sequence[str]] = {"unit": ["+".join(map(str, pairs)) for pairs in hw.units.resolve()]}
    axes |= {name: [axis.text(value) for value in hw.listed(axis)] for name, axis in all_axes().items()}
    return {axis: values for axis, values in axes.items() if len(values) > 1}


def hardware_parameters(space: SearchSpace, index: int) -> dict[str, str]:
    """The values of these axes for an accelerator of the grid, by its index."""
    choices = hardware_choices(space)
    position = np.unravel_index(index, [len(values) for values in choices.values()])
    return {axis: values[int(i)] for (axis, values), i in zip(choices.items(), position, strict=True)}


def grid_parameters(grid: AcceleratorGrid, index: int) -> dict[str, object]:
    """What `Accelerator.to_dict` says, without making one: its checks take longer than all else here."""
    unit = grid.units[grid.unit[index]]
    of_unit = {"pairs": "+".join(map(str, unit.pairs)), "accumulator": unit.accumulator, "dot": unit.dot}
    return of_unit | {axis: grid.value(axis, index) for axis in grid.values}
