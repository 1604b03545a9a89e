"""codesign: hardware-software co-design of number formats for neural networks.

The Python API uses the same nouns as the command line::

    codesign.get_format("mxfp4").fake_quantize(x, axis=-1)
    codesign.trace(module, inputs)
    codesign.cost(workload, accelerator, assignment)
    codesign.search(space)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from codesign import search
    from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
    from codesign.hardware import cost
    from codesign.models.custom import Loss
    from codesign.workload import trace

_WHERE = {
    "Assignment": "codesign.formats",
    "FormatPair": "codesign.formats",
    "LayerFormats": "codesign.formats",
    "Loss": "codesign.models.custom",
    "get_format": "codesign.formats",
    "cost": "codesign.hardware",
    "trace": "codesign.workload",
}

__all__ = ["Assignment", "FormatPair", "LayerFormats", "Loss", "cost", "get_format", "search", "trace"]


def __getattr__(name: str) -> Any:
    """Import a room only when one of its names is used, so that ``codesign --help`` is quick."""
    if name == "search":
        return importlib.import_module("codesign.search")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'codesign' has no attribute {name!r}")
