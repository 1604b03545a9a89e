"""What leaves the package: designs as networks of other tools, and as Verilog."""

from codesign.export.bundle import export_design, export_task, load_brevitas, output_psnr_db
from codesign.export.rtl import export_rtl

__all__ = ["export_design", "export_rtl", "export_task", "load_brevitas", "output_psnr_db"]
