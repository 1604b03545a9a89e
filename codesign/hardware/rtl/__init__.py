"""Verilog of compute units and their software twin: what was scored is what is handed over."""

from codesign.hardware.rtl.emit.unit import Built, Unit, build
from codesign.hardware.rtl.verify.twin import Twin

__all__ = ["Built", "Twin", "Unit", "build"]
