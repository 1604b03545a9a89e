"""Uniform designs: one format pair in every layer.

Every search starts with them, and only with them: they set the reference point of the hypervolume and the scale of the
losses. `codesign.search.results.baselines` reports them.
"""

from __future__ import annotations

import numpy as np

from codesign.errors import InputError
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.engine import Proposal
from codesign.search.engine.points import Pool
from codesign.search.space.ties import summed
from codesign.search.study.study import OpenStudy


def uniform_designs(study: OpenStudy) -> list[tuple[Proposal, str]]:
    """One proposal per pair, with its label: this pair in every layer that allows it, elsewhere the least sensitive."""
    found = []
    for column, pair in enumerate(study.space.pairs):
        choices = {}
        for name, table in study.tables.items():
            groups = study.space.networks[name].groups
            fallback = summed(table, groups).argmin(axis=1)[groups]
            choices[name] = np.where(np.isfinite(table[:, column]), column, fallback)
        smallest = _smallest_support(study.combiner, choices)
        if smallest is not None:
            found.append((Proposal(smallest, choices), f"uniform {pair}"))
    return found


def _smallest_support(combiner: Combiner, choices: dict[str, np.ndarray]) -> int | None:
    """The middle accelerator among those whose unit supports the fewest pairs that include these choices."""
    needed = np.unique(np.concatenate(list(choices.values())))
    fits = [g for g, support in enumerate(combiner.supports) if support[needed].all()]
    if not fits:
        return None
    group = min(fits, key=lambda g: (int(combiner.supports[g].sum()), g))
    members = combiner.groups[group]
    return int(members[len(members) // 2])


def reference_point(study: OpenStudy) -> np.ndarray:
    """The reference point of the hypervolume: each objective's worst value on the uniform designs' front, plus 5 %.

    It depends on the uniform designs alone, which all runs of a space share. Raises InputError if none of them meets
    the budgets.
    """
    uniform = [proposal for proposal, _ in uniform_designs(study)]
    pools = {}
    for name, measured in study.measured.items():
        wanted = {p.choices[name].tobytes() for p in uniform}
        keep = [i for i, choice in enumerate(measured.choices) if choice.tobytes() in wanted]
        pools[name] = Pool(np.array(measured.choices)[keep], np.array([measured.qualities[i].value for i in keep]))
    front = study.combiner.front(pools)
    if not len(front):
        raise InputError(f"{study.space.path}: no design meets the budgets with one format throughout; loosen a budget")
    worst = front.objectives.max(axis=0)
    return np.asarray(worst + 0.05 * np.maximum(np.abs(worst), 1e-12))
