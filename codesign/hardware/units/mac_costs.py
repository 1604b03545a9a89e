"""`mac_costs`: area, delay, energy and leakage of many MAC units at once, over nodes and clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from codesign.errors import InputError
from codesign.hardware.units.mac import MacUnit
from codesign.hardware.units.unit_model import SHIPPED

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MacCosts:
    """Costs of n units: (value, low, high), float64 [n, 3] each."""

    area_um2: Floats
    delay_ns: Floats
    energy_pj: Floats  # of one MAC of the unit's first pair
    leakage_nw: Floats


def mac_costs(
    units: Sequence[MacUnit], unit: Ints, node_nm: Floats, clock_ghz: Floats, activity: str | None = None
) -> MacCosts:
    """Costs of ``units[unit[i]]`` at ``node_nm[i]``, pipelined for ``clock_ghz[i]``, as computed by `MacUnit`.

    unit, node_nm, clock_ghz: [n]; the units' own nodes and clocks are ignored. A unit's Verilog is analysed once per
    distinct pipeline. Raises InputError on a node or clock out of range.
    """
    unit, node_nm, clock_ghz = np.broadcast_arrays(unit, node_nm, clock_ghz)
    wrong = ~((clock_ghz > 0) & (clock_ghz <= 20))
    if wrong.any():
        raise InputError(f"clock_ghz must lie between 0 and 20, not {clock_ghz[wrong][0]:g}")
    costs = MacCosts(*(np.empty((len(unit), 3)) for _ in range(4)))
    for index, rows in _grouped(unit, len(units)):
        own = np.isin(node_nm[rows], tuple(SHIPPED)) & (not units[index].unit_model)
        for place in np.unique(node_nm[rows][own]):
            _fill(costs, replace(units[index], node_nm=float(place)), rows[node_nm[rows] == place], clock_ghz, activity)
        _fill(costs, replace(units[index], node_nm=7), rows[~own], clock_ghz, activity, node_nm)
    return costs


def _grouped(unit: Ints, count: int) -> Iterator[tuple[int, Ints]]:
    """(unit, its rows) for every unit that occurs."""
    order = np.argsort(unit, kind="stable")
    ends = np.searchsorted(unit[order], np.arange(count + 1))
    for index in range(count):
        if ends[index] < ends[index + 1]:
            yield index, order[ends[index] : ends[index + 1]]


def _fill(
    costs: MacCosts, unit: MacUnit, rows: Ints, clock_ghz: Floats, activity: str | None, nodes: Floats | None = None
) -> None:
    """Fill the rows of one unit: the costs of each distinct pipeline times the scaling factors of the nodes."""
    if not len(rows):
        return
    where = np.array([unit.node_nm]) if nodes is None else nodes[rows]
    area, delay, energy = (unit.scales(name, where) for name in ("logic_area", "logic_delay", "logic_energy"))
    period = 1e3 / clock_ghz[rows] / delay[:, 0]
    cut = np.empty((len(rows), 4, 3))
    waiting = np.ones(len(rows), bool)
    while waiting.any():
        longest = float(period[waiting].max())
        plan = unit.model.plan(unit.uncut, longest)
        found = waiting & (period >= plan.low_ps)
        rtl = unit.uncut.cut(plan.cuts)
        mode, model = rtl.pairs.index(unit.pairs[0]), unit.model
        kinds = (model.area(rtl), model.delay_ns(rtl), model.energy_pj(rtl, mode, activity), model.leakage_nw(rtl))
        cut[found] = [(kind.value, kind.low, kind.high) for kind in kinds]
        waiting &= ~found
    for kind, (name, factor) in enumerate(
        (("area_um2", area), ("delay_ns", delay), ("energy_pj", energy), ("leakage_nw", energy))
    ):
        getattr(costs, name)[rows] = cut[:, kind] * factor
