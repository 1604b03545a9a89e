"""Verilog of compute units and their software twin: what was scored is what is handed over."""

from codesign.hardware.rtl.twin import Twin
from codesign.hardware.rtl.unit import Built, Unit, build

__all__ = ["Built", "Twin", "Unit", "build"]
