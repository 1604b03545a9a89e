"""Cost metrics: the quantities that may be objectives and budgets, one row each.

A metric is a function of columns of the cost tables (`codesign.hardware.schedule.tables.FIELDS`). Installed packages
add metrics as entry points of the group ``codesign.objectives``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from codesign.errors import InputError, nearest
from codesign.hardware.schedule.tables import FIELDS
from codesign.plugins import by_name, installed
from codesign.workload import Workload

GROUP = "codesign.objectives"  # of entry points
QUALITY = "quality"
AREA = "area_mm2"  # the only column that is the chip's, not a network's
_PER_TOKEN = "latency_per_token_s"
_OF_FORMATS = frozenset({"weight_bytes", "bitops"})  # columns that do not depend on the accelerator


@dataclass(frozen=True)
class CostMetric:
    """A quantity to minimise: ``TASK.NAME`` for one network, and with `total` also ``NAME`` for the whole design.

    It must be nondecreasing in each of its columns: designs are pruned if they are dominated in their columns.
    """

    name: str
    unit: str
    meaning: str  # one phrase
    of: tuple[str, ...]  # cost columns that it is computed from; () for the quality, which is measured
    # elementwise function of one array per column, in the order of `of`; None: the single column itself
    compute: Callable[..., np.ndarray] | None = None
    total: bool = True  # defined for the whole design: from the columns' sums over networks, and the chip's area

    @property
    def per_task(self) -> bool:
        """Whether it is defined for a single network; the area alone is not."""
        return self.of != (AREA,)

    @property
    def additive(self) -> bool:
        """Whether it is a sum over layers and networks."""
        return self.compute is None and self.of not in ((), (AREA,))

    @property
    def needs_hardware(self) -> bool:
        """Whether it depends on the accelerator."""
        return not _OF_FORMATS.issuperset(self.of)

    def defined_for(self, workload: Workload) -> bool:
        """Whether the network has all columns of `of`."""
        return _PER_TOKEN not in self.of or "decode" in workload.phases

    def value(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """The metric's values, from one array per column of `of`."""
        return columns[0] if self.compute is None else np.asarray(self.compute(*columns))


def _column(name: str, unit: str, meaning: str, *, total: bool = True) -> CostMetric:
    return CostMetric(name, unit, meaning, (name,), total=total)


_ROWS = (
    CostMetric(
        QUALITY,
        "",
        "the network's deciding metric: a loss against the float network or the data, smaller is better",
        of=(),
        total=False,
    ),
    _column(AREA, "mm2", "of the chip: compute units, SRAM, vector unit, DRAM interface"),
    _column("latency_s", "s", "of one result, all passes"),
    _column(_PER_TOKEN, "s", "of one decode pass", total=False),
    _column("energy_j", "J", "of one result, all passes"),
    CostMetric("edp_js", "J s", "energy x latency of one result", ("energy_j", "latency_s"), operator.mul),
    _column("dram_bytes", "B", "moved for one result"),
    _column("dram_capacity_bytes", "B", "held in DRAM"),
    _column("weight_bytes", "B", "stored, with the scales of blocks and groups, before a codec"),
    _column(
        "bitops",
        "bit2",
        "MACs x weight bits x activation bits, of the elements alone: int4_g32 counts 4 bits, not 4.5",
    ),
)
COST_METRICS: Mapping[str, CostMetric] = MappingProxyType({row.name: row for row in _ROWS})


def cost_metric(name: str) -> CostMetric | None:
    """The metric `name`, built in or of an installed package; None if there is none.

    Raises InputError if a package's metric violates the rules of `CostMetric`.
    """
    if name not in COST_METRICS and name not in installed(GROUP):
        return None
    found = by_name("objective", name, COST_METRICS, GROUP)
    if name not in COST_METRICS:
        _check(name, found)
    return found


def all_metrics() -> list[CostMetric]:
    """All built-in metrics, and the valid ones of installed packages."""
    found = dict(COST_METRICS)
    for name in installed(GROUP):
        with suppress(InputError):
            found |= {name: metric} if (metric := cost_metric(name)) else {}
    return list(found.values())


def _check(name: str, metric: object) -> None:
    """Raise InputError unless the entry point `name` holds a valid `CostMetric`."""
    where = f"objective '{name}' of {installed(GROUP)[name].value}"
    if not isinstance(metric, CostMetric) or not isinstance(metric.of, tuple) or not metric.of:
        raise InputError(f"{where}: expected a CostMetric of a tuple of columns")
    if metric.name != name:
        raise InputError(f"{where}: its row is called '{metric.name}'")
    for column in metric.of:
        if column not in FIELDS:
            raise InputError(f"{where}: unknown column '{column}'{nearest(column, FIELDS)}")
    if metric.compute is None and len(metric.of) > 1:
        raise InputError(f"{where}: {len(metric.of)} columns need a function of them (compute)")
    _check_nondecreasing(where, metric)


def _check_nondecreasing(where: str, metric: CostMetric) -> None:
    """Raise InputError if the function is not elementwise, or decreases in a column at one of 64 random points."""
    points = [*10 ** np.random.default_rng(0).uniform(-6, 3, (len(metric.of), 64))]
    with np.errstate(all="ignore"):
        try:
            before = metric.value(points)
            raised = [metric.value([*points[:i], 1.5 * points[i], *points[i + 1 :]]) for i in range(len(points))]
        except (TypeError, ValueError) as error:
            raise InputError(f"{where}: not computed from arrays: {error}") from None
        for column, after in zip(metric.of, raised, strict=True):
            if before.shape != points[0].shape or after.shape != before.shape:
                raise InputError(f"{where}: not elementwise: {points[0].shape} gives {before.shape}")
            if (after < before - 1e-9 * np.abs(before)).any():
                raise InputError(f"{where}: it falls where {column} grows; a metric must not fall with its columns")
