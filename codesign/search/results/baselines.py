"""The baselines of a study: what each uniform format costs and loses, and whether mixed designs dominate it.

The uniform designs are measured first in every study, see `codesign.search.study.uniform`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from codesign.designs import Baseline, Design
from codesign.formats import FormatPair
from codesign.search.engine.points import Designs, Pool
from codesign.search.results.measured import measured_design
from codesign.search.study.representatives import balanced
from codesign.search.study.study import OpenStudy


def baselines(study: OpenStudy, designs: Sequence[Design]) -> tuple[Baseline, ...]:
    """For each uniform format that was measured, the balanced design on accelerators that support it alone.

    Layers that are not free to choose have the pair that they must take, which their accelerators support too.
    """
    mixed = [design for design in designs if _is_mixed(study, design)]
    found: dict[str, Baseline] = {}  # two methods are one design where no network has both
    for column in range(len(study.space.pairs)):
        baseline = _baseline(study, column, mixed)
        if baseline is not None:
            found.setdefault(baseline.id, baseline)
    return tuple(found.values())


def _baseline(study: OpenStudy, column: int, mixed: Sequence[Design]) -> Baseline | None:
    """The baseline of one pair; None if it was not measured in every free layer, or no unit supports it alone."""
    space, pools = study.space, study.pools()
    index = measured_uniform(study, column)
    if index is None:
        return None
    needed = np.unique(np.concatenate([pools[n].choices[i] for n, i in index.items()]))
    paths = {space.pairs[c].datapath for c in needed}
    alone = sum(pair.datapath in paths for pair in space.pairs)  # number of pairs that their unit supports
    if space.spec.hardware is None:
        alone = len(space.pairs)
    only = [g for g, s in enumerate(study.combiner.supports) if s[needed].all() and s.sum() == alone]
    if not only:
        return None
    members = [m if g in only else m[:0] for g, m in enumerate(study.combiner.groups)]
    uniform = study.combiner.front(
        {n: Pool(pools[n].choices[[i]], pools[n].quality[[i]]) for n, i in index.items()}, members
    )
    if not len(uniform):
        return None
    uniform = Designs(uniform.accelerator, {n: np.full(len(uniform), i) for n, i in index.items()}, uniform.objectives)
    design = measured_design(study, uniform, balanced(uniform), full=False)
    every = _share_dominated(study, uniform)
    winner = next((other.id for other in mixed if other.dominates(design)), None)
    return Baseline.of(
        design,
        label=f"uniform {space.pairs[column]}",
        dominated_by=winner,
        on_front=winner is None and every != 1.0,
        designs=len(uniform),
        share_dominated=every,
        note=_why(every, len(uniform), of_chips=space.spec.hardware is not None),
    )


def measured_uniform(study: OpenStudy, column: int) -> dict[str, int] | None:
    """Network -> row of its measured assignment with this pair in every free layer; None unless all have one."""
    index = {n: i for n in study.space.networks if (i := _uniform_index(study, n, column)) is not None}
    return index if len(index) == len(study.space.networks) else None


def _uniform_index(study: OpenStudy, name: str, column: int) -> int | None:
    choice = study.space.networks[name].uniform(study.space.pairs[column])
    if choice is None:
        return None
    return next((i for i, c in enumerate(study.measured[name].choices) if (c == choice).all()), None)


def _is_mixed(study: OpenStudy, design: Design) -> bool:
    """Whether two free layers, of one network or of two, have different pairs."""
    pairs = set[FormatPair]()
    for name, network in study.space.networks.items():
        formats = dict(design.assignments[name].layers)
        for layer in np.array(network.layers)[network.free]:
            pairs.add(formats[layer].choice.formats)
    return len(pairs) > 1


def _share_dominated(study: OpenStudy, uniform: Designs) -> float:
    """The share of a uniform format's own front that mixed-format designs of this study dominate."""
    pools = study.pools()
    free = {name: network.free for name, network in study.space.networks.items()}
    keep = {
        n: np.array([i for i, c in enumerate(p.choices) if len(set(c[free[n]].tolist())) > 1]) for n, p in pools.items()
    }
    if any(not len(rows) for rows in keep.values()):
        return 0.0
    mixed = study.combiner.front({n: type(p)(p.choices[keep[n]], p.quality[keep[n]]) for n, p in pools.items()})
    found = mixed.objectives
    beaten = [bool(((found <= v).all(axis=1) & (found < v).any(axis=1)).any()) for v in uniform.objectives]
    return float(np.mean(beaten))


def _why(share: float, count: int, *, of_chips: bool) -> str:
    if not of_chips:
        return "dominated by a mixed design" if share == 1.0 else "stays undominated"
    if share == 1.0:
        return f"all {count} of its best designs are dominated by mixed designs"
    kept = round((1 - share) * count)
    return (
        f"{kept} of its {count} best designs stay undominated: a unit for one format alone is the smallest there is "
        "at its quality, and a mixed design pays for the second mode"
    )
