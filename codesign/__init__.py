"""codesign: hardware-software co-design of number formats for neural networks.

The Python API uses the same terms as the command line::

    codesign.get_format("mxfp4").fake_quantize(x, axis=-1)
    workload = codesign.trace(module, inputs)
    assignment = codesign.Assignment.uniform(workload, "int4_g32:int8")
    codesign.quantize(module, assignment, inputs)(inputs)
    codesign.cost(workload, codesign.load_accelerator("phone-npu-small"), assignment)
    study = codesign.search("space.yaml", workers=2)  # study.front[0].accelerator, .assignments, .quality
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codesign.namespace import on_first_use
from codesign.search.api import search

__version__ = "0.1.0"

if TYPE_CHECKING:
    from codesign.designs import Design, Front, Study, load_study
    from codesign.errors import CodesignError, EnvironmentProblem, InputError
    from codesign.formats import Assignment, Format, FormatPair, LayerFormats, get_format
    from codesign.hardware import Accelerator, cost, load_accelerator
    from codesign.models import Example, ImageExample, Outputs, Task, TextExample, load_task
    from codesign.models.custom import Batch, CustomTask, Loss, Metric
    from codesign.quality import Evaluator, Quality, quantize
    from codesign.search.samplers.codesign_sampler import CodesignSampler
    from codesign.search.samplers.strategy import Problem, Strategy
    from codesign.search.space.cost_metrics import CostMetric
    from codesign.search.space.resolve import SearchSpace, load_space
    from codesign.workload import Workload, trace

__all__ = [
    "Accelerator",
    "Assignment",
    "Batch",
    "CodesignError",
    "CodesignSampler",
    "CostMetric",
    "CustomTask",
    "Design",
    "EnvironmentProblem",
    "Evaluator",
    "Example",
    "Format",
    "FormatPair",
    "Front",
    "ImageExample",
    "InputError",
    "LayerFormats",
    "Loss",
    "Metric",
    "Outputs",
    "Problem",
    "Quality",
    "SearchSpace",
    "Strategy",
    "Study",
    "Task",
    "TextExample",
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

# names are imported on first use, so that ``codesign --help`` is fast
__getattr__ = on_first_use(
    __name__,
    {
        "codesign.designs": ("Design", "Front", "Study", "load_study"),
        "codesign.errors": ("CodesignError", "EnvironmentProblem", "InputError"),
        "codesign.formats": ("Assignment", "Format", "FormatPair", "LayerFormats", "get_format"),
        "codesign.hardware": ("Accelerator", "cost", "load_accelerator"),
        "codesign.models": ("Example", "ImageExample", "Outputs", "Task", "TextExample", "load_task"),
        "codesign.models.custom": ("Batch", "CustomTask", "Loss", "Metric"),
        "codesign.quality": ("Evaluator", "Quality", "quantize"),
        "codesign.search.samplers.codesign_sampler": ("CodesignSampler",),
        "codesign.search.samplers.strategy": ("Problem", "Strategy"),
        "codesign.search.space.cost_metrics": ("CostMetric",),
        "codesign.search.space.resolve": ("SearchSpace", "load_space"),
        "codesign.workload": ("Workload", "trace"),
    },
)
