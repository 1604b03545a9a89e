"""The hardware of a space as Optuna's parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.search.space import SearchSpace


def hardware_choices(space: SearchSpace) -> dict[str, Sequence[str]]:
    """Optuna's categorical choices, axes in the order of the grid: strings, as mixed types confuse its samplers.

    Axes with one value are left out: nothing is chosen there.
    """
    hw = space.spec.hardware
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
