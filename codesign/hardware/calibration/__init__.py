"""Calibration of the unit model to a cell library: Liberty files, synthesis, and energy of the mapped gates."""

from codesign.hardware.calibration.liberty.cells import cells_delay, verilog_models
from codesign.hardware.calibration.liberty.library import Cell, FlipFlop, Library, read_liberty, write_merged
from codesign.hardware.calibration.synthesis.activity import Activity, simulate
from codesign.hardware.calibration.synthesis.batch import Job, Outcome, job_key, synthesize_many
from codesign.hardware.calibration.synthesis.netlist import Netlist, read_netlist
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
    "FlipFlop",
    "Job",
    "Library",
    "Netlist",
    "Outcome",
    "Synthesis",
    "SynthesisFailed",
    "Tool",
    "cells_delay",
    "find_yosys",
    "job_key",
    "read_liberty",
    "read_netlist",
    "simulate",
    "synthesize",
    "synthesize_many",
    "verilog_models",
    "write_merged",
]
