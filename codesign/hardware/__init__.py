"""Cost models of accelerators: compute units, arrays and memories; area, latency, energy and traffic of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codesign.hardware.chip.accelerator import Accelerator
from codesign.hardware.chip.axes import Axis
from codesign.hardware.chip.grid import AcceleratorGrid
from codesign.hardware.chip.memory_types import dram_types
from codesign.hardware.schedule.cost import Cost, cost
from codesign.hardware.schedule.tables import CostTables, cost_tables
from codesign.hardware.schedule.totals import AssignmentTotals
from codesign.hardware.units.coefficients import Interval
from codesign.hardware.units.mac import MacUnit
from codesign.hardware.units.mac_costs import MacCosts, mac_costs
from codesign.namespace import on_first_use

if TYPE_CHECKING:
    from codesign.hardware.chip.files import load_accelerator, presets

__all__ = [
    "Accelerator",
    "AcceleratorGrid",
    "AssignmentTotals",
    "Axis",
    "Cost",
    "CostTables",
    "Interval",
    "MacCosts",
    "MacUnit",
    "cost",
    "cost_tables",
    "dram_types",
    "load_accelerator",
    "mac_costs",
    "presets",
]


# pydantic, which reads the files, is slow to import
__getattr__ = on_first_use(__name__, {"codesign.hardware.chip.files": ("load_accelerator", "presets")})
