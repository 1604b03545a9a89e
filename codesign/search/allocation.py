"""The Lagrangian hull over (layer, format) tables: the best assignment at every price."""

from __future__ import annotations

import numpy as np


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
