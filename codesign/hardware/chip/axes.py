"""`Axis`: a parameter in which accelerators of a search space differ; ours are declared at `Accelerator`'s fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError, nearest
from codesign.plugins import installed

Floats = npt.NDArray[np.float64]

GROUP = "codesign.axes"  # the group of entry points
# quantities that an axis of another package may scale: rates and energies of `Machine`, and component areas
RATES = ("sram_bytes_per_s", "dram_bytes_per_s", "flash_bytes_per_s")
ENERGIES = ("mac_j", "lane_j", "sram_j", "dram_j", "flash_j")
COMPONENTS = ("mac_array", "vector_unit", "control", "sram", "dram_interface", "decoder")
Scale = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Axis:
    """One parameter in which accelerators differ."""

    meaning: str  # with its unit
    usual: Any = None  # value if a search space does not list the axis; None: the space must list it
    key: str = ""  # name in files, by default `name`
    scale: float = 1.0  # units of the field per unit in files (1024 for "sram_kib")
    memory: str = ""  # kind of memory type whose names are the values; empty for other axes
    zero: str = ""  # the meaning of 0; empty if 0 is not allowed
    most: float = inf  # a larger value is refused as a mistake
    kind: type = float  # of the values: float, int or str
    # of an axis from another package: name in RATES, ENERGIES or COMPONENTS -> factors [A] as a function of its values
    # [A], 1 at the usual value
    scales: Mapping[str, Scale] = field(default_factory=dict)
    name: str = ""  # name and default: those of the field of `Accelerator`
    default: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.key or self.name)
        known = (*RATES, *ENERGIES, *COMPONENTS)
        for part in self.scales:
            if part not in known:
                raise InputError(f"hardware axis '{self.name}': unknown part '{part}'{nearest(part, known)}")

    def value(self, written: Any) -> Any:
        """A value of a file, in units of the field; raises InputError as `check`."""
        if isinstance(written, str):
            return written
        self._within(self.key, written, self.most / self.scale)
        if self.scale == 1:
            return written
        found = round(written * self.scale) if self.kind is int else written * self.scale
        if not found and written:
            raise InputError(f"{self.key} must be at least {1 / self.scale:.6g}, not {written:g}")
        return found

    def text(self, written: Any) -> str:
        """A value of a file as an Optuna choice: in whole units of the field, or as written."""
        return str(written) if isinstance(written, str) or self.scale == 1 else str(round(written * self.scale))

    def check(self, value: float) -> None:
        """Raises InputError on a number that is too large, or not positive (or 0, where allowed)."""
        self._within(self.name, value, self.most)

    def _within(self, name: str, value: float, most: float) -> None:
        if not (value > 0 or (self.zero and value == 0)):
            raise InputError(f"{name} must be positive, not {_short(value)}")
        if not value <= most:
            raise InputError(f"{name} must be at most {most:.9g}, not {_short(value)}")


def _short(value: float) -> str:
    """A number in an error text; an integer may be too large for a float."""
    return f"{value:.9g}" if abs(value) < 10**300 else "a number of hundreds of digits"


def others() -> dict[str, Axis]:
    """Axes of installed packages; raises InputError on one without a usual value or whose values are not numbers."""
    found = {}
    for name, point in installed(GROUP).items():
        axis: Axis = point.load()
        if axis.usual is None or axis.kind is str:
            raise InputError(f"hardware axis '{name}': give a usual value, a number")
        found[name] = axis
    return found
