"""The hardware of a space as Optuna's parameters, and as columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.hardware import AcceleratorGrid
from codesign.hardware.chip.accelerator import CODECS, FLASHES
from codesign.search.space.resolve import SearchSpace

_NUMBERS = ("rows", "columns", "sram_bytes", "dram_channels", "dram_gib", "clock_hz", "vector_lanes")


def hardware_choices(space: SearchSpace) -> dict[str, Sequence[str]]:
    """Optuna's categorical choices, axes in the order of the grid: strings, as mixed types confuse its samplers.

    Axes with one value are left out: nothing is chosen there.
    """
    hw = space.spec.chip
    axes: dict[str, Sequence[str]] = {
        "unit": ["+".join(map(str, s)) for s in hw.units.resolve()],
        "accumulator": hw.accumulator,
        "dot": [str(v) for v in hw.dot],
        "rows": [str(v) for v in hw.rows],
        "columns": [str(v) for v in hw.columns],
        "sram_bytes": [str(round(k * 1024)) for k in hw.sram_kib],
        "dram": hw.dram,
        "dram_channels": [str(v) for v in hw.dram_channels],
        "vector_lanes": [str(v) for v in hw.vector_lanes],
        "dram_gib": [str(v) for v in hw.dram_gib],
        "flash": hw.flash,
        "codec": hw.codec,
        "clock_hz": [str(round(m * 1e6)) for m in hw.clock_mhz],
    }
    return {axis: values for axis, values in axes.items() if len(values) > 1}


def hardware_parameters(space: SearchSpace, index: int) -> dict[str, str]:
    """The values of these axes for an accelerator of the grid, by its index."""
    choices = hardware_choices(space)
    position = np.unravel_index(index, [len(values) for values in choices.values()])
    return {axis: values[int(i)] for (axis, values), i in zip(choices.items(), position, strict=True)}


def grid_parameters(grid: AcceleratorGrid, index: int) -> dict[str, object]:
    """What `Accelerator.to_dict` says, without making one: its checks take longer than all else here."""
    unit = grid.units[grid.unit[index]]
    found: dict[str, object] = {
        "pairs": "+".join(map(str, unit.pairs)),
        "accumulator": unit.accumulator,
        "dot": unit.dot,
    }
    found |= {key: getattr(grid, key)[index] for key in _NUMBERS}
    named = {"dram": grid.drams[grid.dram[index]], "flash": FLASHES[grid.flash[index]]}
    return found | named | {"codec": CODECS[grid.codec[index]]}
