"""The search for Pareto-optimal designs.

`space` resolves the space file, `engine` and `samplers` propose candidates, `queue` distributes them to workers,
`study` runs the loop, and `results` writes the study's folder. `search` does all of it in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codesign.namespace import on_first_use
from codesign.search.api import search

if TYPE_CHECKING:
    from codesign.search.results.sweep import Sweep, run_sweep, write_sweep
    from codesign.search.results.write import write_results
    from codesign.search.samplers.codesign_sampler import CodesignSampler
    from codesign.search.samplers.strategy import Problem, Result, Strategy
    from codesign.search.space.cost_metrics import CostMetric
    from codesign.search.space.resolve import SearchSpace, load_space
    from codesign.search.study.progress import Progress
    from codesign.search.study.run import run_study
    from codesign.search.study.study import OpenStudy, open_study

__all__ = [
    "CodesignSampler",
    "CostMetric",
    "OpenStudy",
    "Problem",
    "Progress",
    "Result",
    "SearchSpace",
    "Strategy",
    "Sweep",
    "load_space",
    "open_study",
    "run_study",
    "run_sweep",
    "search",
    "write_results",
    "write_sweep",
]

__getattr__ = on_first_use(
    __name__,
    {
        "codesign.search.results.sweep": ("Sweep", "run_sweep", "write_sweep"),
        "codesign.search.results.write": ("write_results",),
        "codesign.search.samplers.codesign_sampler": ("CodesignSampler",),
        "codesign.search.samplers.strategy": ("Problem", "Result", "Strategy"),
        "codesign.search.space.cost_metrics": ("CostMetric",),
        "codesign.search.space.resolve": ("SearchSpace", "load_space"),
        "codesign.search.study.progress": ("Progress",),
        "codesign.search.study.run": ("run_study",),
        "codesign.search.study.study": ("OpenStudy", "open_study"),
    },
)
