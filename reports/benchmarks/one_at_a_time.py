"""What people do without a search: measure every format in every layer alone, add up, take the hull, measure that."""

from __future__ import annotations

import numpy as np

from codesign.search import OpenStudy
from codesign.search.engine.allocation import lagrangian, price_range
from codesign.search.engine.points import Pool

_PRICES = 400


def one_at_a_time(study: OpenStudy, evaluations: int) -> list[tuple[int, float]]:
    """(evaluations, hypervolume) of a study of one network whose uniform designs were measured.

    The other layers stay in the uniform format of least loss. Raises ValueError where `evaluations` do not suffice.
    """
    ((name, network),) = study.space.networks.items()
    evaluator, pool = study.evaluators[name], study.measured[name].pool()
    (cost,) = study.combiner.fields(name)[:1]
    base = pool.choices[pool.quality.argmin()]
    start = network.task.raw(float(pool.quality.min()))
    loss = np.zeros(network.allowed.shape)
    known = [(row, float(value)) for row, value in zip(pool.choices, pool.quality, strict=True)]
    for layer, pair in np.argwhere(network.allowed):
        row = base.copy()
        row[layer] = pair
        if (row != base).any():
            known.append((row, evaluator(network.assignment(row)).value))
            loss[layer, pair] = network.task.raw(known[-1][1]) - start
    loss[~network.allowed] = np.inf
    costs = study.combiner.tables[name].additive(cost, np.zeros(1, dtype=np.int64))
    hull = np.unique(lagrangian(loss, costs[0], price_range(loss, costs[0], _PRICES)), axis=0)
    seen = {row.astype(int).tobytes() for row, _ in known}
    found = [(len(known), _volume(study, name, known))]
    hull = np.array([row for row in hull.astype(int) if row.tobytes() not in seen])
    room = evaluations - len(known)
    if room <= 0:
        raise ValueError(f"{len(known)} evaluations are needed before the hull")
    spread = hull[np.unique(np.linspace(0, len(hull) - 1, room).round().astype(int))] if len(hull) > room else hull
    known += [(row, evaluator(network.assignment(row)).value) for row in spread]
    return [*found, (len(known), _volume(study, name, known))]


def _volume(study: OpenStudy, name: str, known: list[tuple[np.ndarray, float]]) -> float:
    pool = Pool(np.array([row for row, _ in known]), np.array([value for _, value in known]))
    return study.hypervolume(study.combiner.front({name: pool}))
