"""Switching of a unit on operands: toggles of its gates, settled and on the way, by kind of logic.

Nothing is fitted here: the gates of the generator's record (`rtl.analyse.gates`) are simulated on the operands of the
bundled networks and on noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.analyse.built import built
from codesign.hardware.rtl.analyse.gates import LOGIC, unit_gates
from codesign.hardware.rtl.analyse.toggles import toggles
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.activities import activities
from codesign.hardware.units.operand_streams import port_words

COUNTED = 12  # cycles whose toggles are counted, after the pipeline has filled
_TIMED_EVERY = 3  # of these cycles, every third one is simulated with delays

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Switching:
    """Toggles of a unit in one mode per cycle."""

    settled: Floats  # [activities, LOGIC], at most one of a gate and cycle
    glitches: Floats  # [activities, LOGIC], all others
    registers: int


@lru_cache(maxsize=65536)
def switching(unit: Unit, mode: int) -> Switching:
    """The switching of a unit with every operand stream, in the order of `activities`."""
    gates, names = unit_gates(unit), activities()
    warm = max(built(unit).latency)
    cycles = warm + COUNTED
    ports = port_words(unit, mode, cycles, 1)
    found = toggles(gates, ports, range(warm, cycles), range(warm, cycles, _TIMED_EVERY), len(names))
    groups = len(LOGIC)
    settled, glitches = (
        np.array([np.bincount(gates.logic, column, groups) for column in each.T])
        for each in (found.settled, found.glitches)
    )
    for each in (settled, glitches):
        each.setflags(write=False)
    return Switching(settled, glitches, gates.registers)
