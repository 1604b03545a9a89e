"""Uniform designs: one format pair in every layer that is free to take several.

Every search starts with them, and only with them: they set the reference point of the hypervolume and the scale of the
losses. `codesign.search.results.baselines` reports them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from codesign.errors import InputError
from codesign.hardware import CostTables
from codesign.search.engine.combiner import Combiner
from codesign.search.engine.engine import Proposal
from codesign.search.engine.points import Pool
from codesign.search.space.ties import summed
from codesign.search.study.study import OpenStudy


def uniform_designs(study: OpenStudy) -> list[tuple[Proposal, str]]:
    """One proposal per pair, with its label: this pair in every layer that allows it, elsewhere the least sensitive.

    A pair that no free layer may take, such as that of attention products alone, has none.
    """
    found = []
    seen: list[dict[str, bytes]] = []  # two methods are one design where no network has both
    for column, pair in enumerate(study.space.pairs):
        if not any(network.allowed[network.free, column].any() for network in study.space.networks.values()):
            continue
        choices = {}
        for name, table in study.tables.items():
            groups = study.space.networks[name].groups
            fallback = summed(table, groups).argmin(axis=1)[groups]
            alike = study.space.networks[name].alike(pair)
            choices[name] = np.where(alike >= 0, alike, fallback)
        key = {name: choice.tobytes() for name, choice in choices.items()}
        smallest = _smallest_support(study.combiner, choices)
        if smallest is not None and key not in seen:
            seen.append(key)
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

    It depends on the uniform designs alone, which all runs of a space share. Raises InputError if none of them was
    measured, or none is possible.
    """
    uniform = [proposal for proposal, _ in uniform_designs(study)]
    pools = {}
    for name, measured in study.measured.items():
        wanted = {p.choices[name].tobytes() for p in uniform}
        keep = [i for i, choice in enumerate(measured.choices) if choice.tobytes() in wanted]
        if not keep:
            raise InputError(f"{study.space.path}: {_unmeasured(study)}")
        pools[name] = Pool(np.array(measured.choices)[keep], np.array([measured.qualities[i].value for i in keep]))
    front = study.combiner.front(pools)
    if not len(front):
        raise InputError(f"{study.space.path}: {why_none(study.combiner, pools)}")
    worst = front.objectives.max(axis=0)
    return np.asarray(worst + 0.05 * np.maximum(np.abs(worst), 1e-12))


def _unmeasured(study: OpenStudy) -> str:
    if study.failures:
        _, _, reason = study.failures[0].partition(": ")
        return f"no design with one format throughout could be measured ({len(study.failures)} failed); first: {reason}"
    return "no design was measured in the time given; allow more (--timeout), or go on with it later"


def why_none(combiner: Combiner, pools: Mapping[str, Pool]) -> str:
    """The reason why none of these assignments is a design on any accelerator."""
    if len(Combiner(combiner.tables, combiner.objectives, (), combiner.unit).front(pools)):
        return "no design meets the budgets with one format throughout; loosen a budget"
    roomy = {
        name: replace(table, dram_room=np.full_like(table.dram_room, np.inf))
        for name, table in combiner.tables.items()
        if isinstance(table, CostTables)
    }
    none = f"none of {len(combiner.area)} accelerators is a design with one format throughout"
    if roomy and len(Combiner(roomy, combiner.objectives, (), combiner.unit).front(pools)):
        return f"{none}: their DRAM is too small for the networks; raise dram_gib or dram_channels, or list a flash"
    return f"{none}: their SRAM holds no tile of some layer"
