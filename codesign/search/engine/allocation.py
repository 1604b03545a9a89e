"""Optimal assignments for additive (layer, format) tables: at Lagrange multipliers, or under linear constraints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

_SOLVE_S = 0.5  # time limit of the integer program; the best solution found by then is used


def lagrangian(loss: np.ndarray, cost: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Lagrangian relaxation: the choice per layer that minimises total loss + price x total cost, for every price.

    Both totals are sums over layers, so the minimisation separates into one argmin per layer: O(P L C) per accelerator.
    The solutions over all prices are the vertices of the lower convex hull of (total cost, total loss); assignments
    above the hull are not found. Source: Shoham and Gersho, "Efficient bit allocation for an arbitrary set of
    quantizers", 1988.

    Args:
        loss: [L, C] predicted loss of choice c in layer l; inf where not allowed.
        cost: [..., L, C] cost of the same choices, for any number of accelerators in front.
        prices: [P] Lagrange multipliers.
    Returns:
        int16 [..., P, L] chosen column per layer.
    """
    prices = prices.reshape(-1, 1, 1)
    return np.asarray((loss + prices * cost[..., None, :, :]).argmin(axis=-1), dtype=np.int16)


def price_range(loss: np.ndarray, cost: np.ndarray, count: int) -> np.ndarray:
    """Prices for `lagrangian` that span all trade-offs of these tables, float [<= count].

    The first is 0. The others are spaced logarithmically over the rates at which a single layer changes its choice:
    loss gained / cost saved between any two columns, from half their 0.5 % quantile to twice their 99.5 % quantile.

    Args:
        loss: [L, C], inf where not allowed.
        cost: [L, C].
        count: number of prices; one price, 0, is returned if no choice trades loss against cost.
    """
    known = np.where(np.isfinite(loss), loss, np.nan)
    gain = known[:, :, None] - known[:, None, :]
    saving = cost[:, None, :] - cost[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where((saving > 0) & (gain > 0), gain / saving, np.nan)
    rate = rate[np.isfinite(rate)]
    if not len(rate):
        return np.zeros(1)
    low, high = np.quantile(rate, [0.005, 0.995])
    return np.concatenate([[0.0], np.geomspace(low / 2, high * 2, count - 1)])


def least_within(
    values: Mapping[str, np.ndarray], limits: Sequence[tuple[Mapping[str, np.ndarray], float]]
) -> dict[str, np.ndarray] | None:
    """The choice per layer of several networks that minimises their total value under linear constraints.

    An integer linear program with one binary variable per layer and choice, solved by HiGHS branch and cut
    (scipy.optimize.milp). It stops after _SOLVE_S, so that the solution may not be optimal.

    Args:
        values: network -> [L, C] to minimise; inf where not allowed.
        limits: pairs of (network -> cost [L, C], inf where not allowed) and the upper bound of its sum over these
            networks.
    Returns:
        network -> int [L]; None if no feasible choice was found.
    """
    sizes = [table.size for table in values.values()]
    starts = dict(zip(values, np.cumsum([0, *sizes[:-1]]), strict=True))
    flat = np.concatenate([table.reshape(-1) for table in values.values()])
    allowed = np.isfinite(flat)
    rows = np.zeros((len(limits), len(flat)))
    for row, (costs, limit) in zip(rows, limits, strict=True):
        for name, table in costs.items():
            row[starts[name] : starts[name] + table.size] = table.reshape(-1) / limit
    allowed &= np.isfinite(rows).all(axis=0)
    layer = np.concatenate([np.repeat(np.arange(len(table)), table.shape[1]) for table in values.values()])
    layer += np.repeat(np.cumsum([0, *[len(t) for t in values.values()][:-1]]), sizes)
    one_each = csr_array((np.ones(len(flat)), (layer, np.arange(len(flat)))))
    scale = np.abs(flat[allowed]).max(initial=1e-300)
    found = milp(
        np.where(allowed, flat, 0.0) / scale,
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, allowed.astype(float)),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(np.where(allowed, rows, 0.0), -np.inf, 1.0)],
        options={"disp": False, "time_limit": _SOLVE_S},
    )
    if found.x is None:
        return None
    picked = np.round(found.x)
    return {n: picked[starts[n] : starts[n] + t.size].reshape(t.shape).argmax(axis=1) for n, t in values.items()}
