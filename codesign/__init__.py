"""codesign: hardware-software co-design of number formats for neural networks.

The Python API uses the same nouns as the command line::

    codesign.get_format("mxfp4").fake_quantize(x, axis=-1)
    workload = codesign.trace(module, inputs)
    assignment = codesign.Assignment.uniform(workload, "int4_g32:int8")
    codesign.quantize(module, assignment, inputs)(inputs)
    codesign.cost(workload, codesign.load_accelerator("phone-npu-small"), assignment)
    codesign.search("space.yaml", "study").front[0].accelerator
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from codesign import search
    from codesign.designs import Design, Front, StudyFolder, load_study
    from codesign.errors import CodesignError, EnvironmentProblem, InputError
    from codesign.formats import Assignment, Format, FormatPair, LayerFormats, get_format
    from codesign.hardware import Accelerator, cost, load_accelerator
    from codesign.models import Task, load_task
    from codesign.models.custom import Loss
    from codesign.quality import Evaluator, Quality, quantize
    from codesign.search import CodesignSampler, SearchSpace, load_space
    from codesign.workload import Workload, trace

_WHERE = {
    "codesign.designs": ("Design", "Front", "StudyFolder", "load_study"),
    "codesign.errors": ("CodesignError", "EnvironmentProblem", "InputError"),
    "codesign.formats": ("Assignment", "Format", "FormatPair", "LayerFormats", "get_format"),
    "codesign.hardware": ("Accelerator", "cost", "load_accelerator"),
    "codesign.models": ("Task", "load_task"),
    "codesign.models.custom": ("Loss",),
    "codesign.quality": ("Evaluator", "Quality", "quantize"),
    "codesign.search": ("CodesignSampler", "SearchSpace", "load_space"),
    "codesign.workload": ("Workload", "trace"),
}
_PACKAGE_OF = {name: package for package, names in _WHERE.items() for name in names}

__all__ = [
    "Accelerator",
    "Assignment",
    "CodesignError",
    "CodesignSampler",
    "Design",
    "EnvironmentProblem",
    "Evaluator",
    "Format",
    "FormatPair",
    "Front",
    "InputError",
    "LayerFormats",
    "Loss",
    "Quality",
    "SearchSpace",
    "StudyFolder",
    "Task",
    "Workload",
    "cost",
    "get_format",
    "load_accelerator",
    "load_space",
    "load_study",
    "load_task",
    "quantize",
    "search",
    "trace",
]


def __getattr__(name: str) -> Any:
    """Import a package only when one of its names is used, so that ``codesign --help`` is quick."""
    if name == "search":
        return importlib.import_module("codesign.search")
    if name in _PACKAGE_OF:
        return getattr(importlib.import_module(_PACKAGE_OF[name]), name)
    raise AttributeError(f"module 'codesign' has no attribute {name!r}")
