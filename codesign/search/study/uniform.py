"""One format throughout: what every search begins with, and what bounds its hypervolume."""

from __future__ import annotations

import numpy as np

from codesign.errors import InputError
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.engine import Proposal
from codesign.search.engine.points import Pool
from codesign.search.space.ties import summed
from codesign.search.study.study import OpenStudy


def uniform_designs(study: OpenStudy) -> list[tuple[Proposal, str]]:
    """One per pair: this pair in every layer (where allowed, else the least sensitive allowed one), and its name."""
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
    """The middle accelerator of the unit with the fewest pairs that supports these choices."""
    needed = np.unique(np.concatenate(list(choices.values())))
    fits = [g for g, support in enumerate(combiner.supports) if support[needed].all()]
    if not fits:
        return None
    group = min(fits, key=lambda g: (int(combiner.supports[g].sum()), g))
    members = combiner.groups[group]
    return int(members[len(members) // 2])


def reference_point(study: OpenStudy) -> np.ndarray:
    """The corner that bounds the hypervolume: the worst of each objective over the uniform designs' front, + 5 %.

    Fixed by the uniform designs, which every run of this space shares.
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
