"""Export of designs: networks for other tools, and Verilog."""

from codesign.export.bundle import export_task, load_brevitas, output_psnr_db
from codesign.export.registry import Exporter, export_design
from codesign.export.rtl import export_rtl

__all__ = ["Exporter", "export_design", "export_rtl", "export_task", "load_brevitas", "output_psnr_db"]
