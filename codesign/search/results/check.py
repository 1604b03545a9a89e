"""What a search would refuse before it measures a candidate, for `codesign validate`."""

from __future__ import annotations

import numpy as np

from codesign.errors import InputError
from codesign.hardware import cost_tables
from codesign.quality import Evaluator, try_metric
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.points import Pool
from codesign.search.results.sweep import check_sweep
from codesign.search.space.resolve import SearchSpace
from codesign.search.study.progress import Progress
from codesign.search.study.uniform import why_none


def check_space(space: SearchSpace, progress: Progress | None = None) -> None:
    """Raise InputError if a metric is no loss, or if one format throughout is no design on any accelerator.

    The float networks run, and once with a coarse format; no candidate is measured.
    progress: called with (stage, done, total, detail).
    """
    report = progress or (lambda *_: None)
    if space.fixed:
        check_sweep(space)
        return
    for i, (name, network) in enumerate(space.networks.items()):
        report("metrics tried", i, len(space.networks), name)
        try_metric(Evaluator(network.task, ranges=network.ranges))
    report("metrics tried", len(space.networks), len(space.networks), "")
    _check_fit(space)


def _check_fit(space: SearchSpace) -> None:
    """Raise InputError if no pair that every free layer may take fits an accelerator and the budgets of cost."""
    uniform = [{name: n.uniform(pair) for name, n in space.networks.items()} for pair in space.pairs]
    uniform = [choices for choices in uniform if all(choice is not None for choice in choices.values())]
    if not uniform:
        return  # which formats the other layers take is known after their sensitivities
    tables = {name: cost_tables(n.workload, space.grid, space.pairs) for name, n in space.networks.items()}
    budgets = [(objective, limit) for objective, limit in space.budgets if not objective.is_quality]
    combiner = Combiner(tables, space.objectives, budgets, space.grid.unit)
    found = ""
    for choices in uniform:
        pools = {name: Pool(np.array([choice]), np.zeros(1)) for name, choice in choices.items()}
        if len(combiner.front(pools)):
            return
        found = found or why_none(combiner, pools)
    raise InputError(f"{space.path}: {found}")
