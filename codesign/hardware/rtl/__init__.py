"""Verilog of compute units and arrays, and its bit-exact software model, which scores designs."""

from codesign.hardware.rtl.emit.unit import Built, Unit, build
from codesign.hardware.rtl.verify.twin import Twin

__all__ = ["Built", "Twin", "Unit", "build"]
