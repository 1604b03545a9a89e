"""`Axis`: a quantity in which the accelerators of a space differ; ours stand at the fields of `Accelerator`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, nearest
from codesign.plugins import installed

Floats = npt.NDArray[np.float64]

GROUP = "codesign.axes"  # of entry points
# what an axis of another package may scale: rates and energies of the parts that price an operator, and areas
RATES = ("sram_bytes_per_s", "dram_bytes_per_s", "flash_bytes_per_s")
ENERGIES = ("mac_j", "lane_j", "sram_j", "dram_j", "flash_j")
COMPONENTS = ("mac_array", "vector_unit", "control", "sram", "dram_interface", "decoder")
Scale = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Axis:
    """One quantity in which accelerators differ.

    meaning: with its unit. usual: its value where a search space does not list it; None: it must. key, scale: its name
    in files, and one unit there in units of the field ("sram_kib", 1024). memory: the kind of memory type that it
    names. zero: what 0 stands for, where 0 is allowed. kind: of its values, float, int or str.
    scales: of an axis from another package, which of RATES, ENERGIES and COMPONENTS it changes: factors [A] of its
    values [A], 1 at the usual one.
    name, default: of the field of `Accelerator`, taken from there.
    """

    meaning: str
    usual: Any = None
    key: str = ""
    scale: float = 1.0
    memory: str = ""
    zero: str = ""
    kind: type = float
    scales: Mapping[str, Scale] = field(default_factory=dict)
    name: str = ""
    default: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)
        known = (*RATES, *ENERGIES, *COMPONENTS)
        for part in self.scales:
            if part not in known:
                raise InputError(f"hardware axis '{self.name}': unknown part '{part}'{nearest(part, known)}")

    def value(self, written: Any) -> Any:
        """What a file says, in units of the field."""
        if isinstance(written, str) or self.scale == 1:
            return written
        return round(written * self.scale) if self.kind is int else written * self.scale

    def text(self, written: Any) -> str:
        """A value of a file as a choice of Optuna: whole units of the field, or what was written."""
        return str(written) if isinstance(written, str) or self.scale == 1 else str(round(written * self.scale))

    def check(self, value: float) -> None:
        """Raises InputError on a number that is not positive, where it must be."""
        if not (value > 0 or (self.zero and value == 0)):
            raise InputError(f"{self.name} must be positive, not {value:g}")


def others() -> dict[str, Axis]:
    """Axes of installed packages, numbers all; raises InputError on one that has no usual value."""
    found = {}
    for name, point in installed(GROUP).items():
        axis: Axis = point.load()
        if axis.usual is None or axis.kind is str:
            raise InputError(f"hardware axis '{name}': give a usual value, a number")
        found[name] = axis
    return found
