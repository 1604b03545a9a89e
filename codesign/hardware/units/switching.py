"""Switching of a unit on operands: toggles of its gates, settled and on the way, by kind of logic and by load.

Nothing is fitted here: the gates of the generator's record (`rtl.analyse.gates`) are simulated on the operands of the
bundled networks and on noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from codesign.hardware.rtl.analyse.built import built
from codesign.hardware.rtl.analyse.elaborate import unit_gates
from codesign.hardware.rtl.analyse.events import Words
from codesign.hardware.rtl.analyse.gates import LOGIC, Gates
from codesign.hardware.rtl.analyse.toggles import toggles
from codesign.hardware.rtl.emit.unit import Unit
from codesign.hardware.units.operand_streams import masks, port_words

# What the energy of toggles is made of: toggles of gates by kind, and of the pins that they drive.
TERMS = (*LOGIC, "load")
STREAMS = 64  # of each activity
# Cycles before the counted ones: the pipeline fills, and float sums grow to the size at which operands are shifted as
# far as in the middle of a long sum.
_FILLED = 48
# With these the toggles of ten units of all kinds scatter by 0.7 % (one sigma) from those of 12 times as many
# transitions (reports/validation/energy.py).
_COUNTED = 12
_TIMED_EVERY = 2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stimulus:
    """What a unit or another module reads while its toggles are counted."""

    ports: dict[str, Words]  # [cycles, bits, words]
    counted: range  # cycles
    timed: range  # of which the glitches are counted
    masks: Words  # [activities, words]

    @classmethod
    def of(cls, unit: Unit, mode: int, names: Sequence[str], streams: int = STREAMS) -> Stimulus:
        """On the given activities."""
        warm = max(built(unit).latency) + _FILLED
        cycles = warm + _COUNTED
        ports = port_words(unit, mode, cycles, streams, names)
        return cls(ports, range(warm, cycles), range(warm, cycles, _TIMED_EVERY), masks(streams, len(names)))


@dataclass(frozen=True)
class Switching:
    """Toggles of a module in one mode per cycle."""

    settled: Floats  # [activities, TERMS], at most one of a gate and cycle
    glitches: Floats  # [activities, TERMS], all others
    registers: int


@lru_cache(maxsize=65536)
def switching(unit: Unit, mode: int, names: tuple[str, ...]) -> Switching:
    """The switching of a unit on the given activities."""
    return switched(unit_gates(unit), Stimulus.of(unit, mode, names))


def switched(gates: Gates, read: Stimulus) -> Switching:
    """The switching of any module."""
    found = toggles(gates, read.ports, read.counted, read.timed, read.masks)
    return Switching(_terms(gates, found.settled), _terms(gates, found.glitches), gates.registers)


def _terms(gates: Gates, toggles: Floats) -> Floats:
    """Toggles [gates, activities] as [activities, TERMS], read-only."""
    kinds = [np.bincount(gates.logic, column, len(LOGIC)) for column in toggles.T]
    found = np.column_stack([kinds, toggles.T @ gates.fan_out])
    found.setflags(write=False)
    return found
