"""What leaves the house: designs as networks of other tools."""

from codesign.export.bundle import export_design, export_task, load_brevitas, output_psnr_db

__all__ = ["export_design", "export_task", "load_brevitas", "output_psnr_db"]
