"""Calibration of the unit model to a cell library: Liberty files, synthesis, and energy of the mapped gates."""

from codesign.hardware.calibration.liberty.cells import cells_delay, verilog_models
from codesign.hardware.calibration.liberty.library import Cell, FlipFlop, Library, read_liberty, write_merged
from codesign.hardware.calibration.synthesis.batch import Job, Outcome, job_key, synthesize_many
from codesign.hardware.calibration.synthesis.netlist import (
    Activity,
    EnergyResult,
    Netlist,
    energy_fj,
    read_netlist,
    switching,
)
from codesign.hardware.calibration.synthesis.yosys import (
    Synthesis,
    SynthesisFailed,
    Tool,
    find_yosys,
    synthesize,
)

__all__ = [
    "Activity",
    "Cell",
    "EnergyResult",
    "FlipFlop",
    "Job",
    "Library",
    "Netlist",
    "Outcome",
    "Synthesis",
    "SynthesisFailed",
    "Tool",
    "cells_delay",
    "energy_fj",
    "find_yosys",
    "job_key",
    "read_liberty",
    "read_netlist",
    "switching",
    "synthesize",
    "synthesize_many",
    "verilog_models",
    "write_merged",
]
