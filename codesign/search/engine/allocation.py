"""The best assignment by sums over (layer, format) tables: at every price, or within limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

_SOLVE_S = 0.5  # a solution that is good by then will do


def lagrangian(loss: np.ndarray, cost: np.ndarray, prices: np.ndarray) -> np.ndarray:
    """Choice per layer that minimises total loss + price x total cost, for every price.

    Both totals are sums over layers, so the minimum separates: one argmin per layer. The choices
    for all prices are exactly the vertices of the lower convex hull of (total cost, total loss);
    see Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers", 1988.

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
    """`count` prices that reach from "loss only" to "cost only" for this table, log-spaced.

    Zero is the first. The others span the exchange rates at which single layers change their
    format: |difference of loss| / |difference of cost| between any two columns.
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
    """Choice per layer of several networks, int [L] each, of least total value whose costs keep within all limits.

    An integer linear program, one variable a layer and choice, solved by HiGHS (scipy.optimize.milp).

    Args:
        values: network -> [L, C], what is minimised, inf where not allowed.
        limits: (network -> cost [L, C], inf where not allowed, and the most that it may sum to over those networks).
    Returns:
        None where no choice keeps within all limits.
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
