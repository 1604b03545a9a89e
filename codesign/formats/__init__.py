"""Number formats: elements, scaling, the named formats, the quantizer, and assignments of formats to layers."""

from __future__ import annotations

from codesign.formats.assignment import Assignment, FormatPair, LayerFormats, read_assignment
from codesign.formats.elements import Element, FloatElement, IntElement
from codesign.formats.format import Format, Quantized
from codesign.formats.scaling import Scaling
from codesign.formats.sqnr import sqnr_db
from codesign.formats.table import format_names, get_format

__all__ = [
    "Assignment",
    "Element",
    "FloatElement",
    "Format",
    "FormatPair",
    "IntElement",
    "LayerFormats",
    "Quantized",
    "Scaling",
    "format_names",
    "get_format",
    "read_assignment",
    "sqnr_db",
]
