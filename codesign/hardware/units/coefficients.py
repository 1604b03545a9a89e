"""Coefficients of the cost model with provenance: rows of the YAML files in ``hardware/data/``.

A row has ``value`` (optionally ``low`` and ``high``), ``unit``, ``source`` and ``quality``: measured (our own
synthesis), fitted, published (read in the primary source), second (second-hand: quoted by another source or from
memory) or assumption.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import yaml

Floats = npt.NDArray[np.float64]

DATA = Path(__file__).parent.parent / "data"
QUALITIES = ("measured", "fitted", "published", "second", "assumption")


@dataclass(frozen=True)
class Interval:
    """A value with its uncertainty; low <= value <= high."""

    value: float
    low: float
    high: float

    def scaled(self, other: Interval) -> Interval:
        """Product with another interval; both must be non-negative."""
        return Interval(self.value * other.value, self.low * other.low, self.high * other.high)

    def to_dict(self) -> dict[str, float]:
        """JSON form."""
        return {"value": self.value, "low": self.low, "high": self.high}


class CoefficientRow(TypedDict):
    """A coefficient in a data file; without `low` and `high` the interval is the value itself."""

    value: float
    low: NotRequired[float]
    high: NotRequired[float]
    unit: str
    source: str
    quality: str


@dataclass(frozen=True)
class Coefficient:
    """One number of the model with its provenance."""

    value: float
    unit: str
    source: str
    quality: str
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high)

    @classmethod
    def of(cls, row: CoefficientRow) -> Coefficient:
        """Parse a row; raises ValueError if provenance is missing or the value lies outside its interval."""
        missing = [key for key in ("value", "unit", "source", "quality") if key not in row]
        if missing:
            raise ValueError(f"coefficient without {', '.join(missing)}: {dict(row)}")
        if row["quality"] not in QUALITIES:
            raise ValueError(f"unknown quality {row['quality']!r}; one of {', '.join(QUALITIES)}")
        value = float(row["value"])
        low, high = float(row.get("low", value)), float(row.get("high", value))
        if not (low <= value <= high and np.isfinite([low, high]).all()):
            raise ValueError(f"value {value} outside its interval [{low}, {high}]")
        return cls(value, str(row["unit"]), str(row["source"]), str(row["quality"]), low, high)


@cache
def read_data(name: str) -> dict[str, Any]:
    """The parsed file ``data/<name>``."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    data = yaml.load((DATA / name).read_text(encoding="utf-8"), Loader=loader)
    assert isinstance(data, dict)
    return data


@cache
def table(name: str, section: str) -> Mapping[Any, Coefficient]:
    """Key -> coefficient of one section of a data file."""
    return {key: Coefficient.of(row) for key, row in read_data(name)[section].items()}


def at_node(name: str, section: str, node_nm: float) -> Interval:
    """Coefficient at a process node: tabulated, or log-log interpolated between the neighbouring nodes.

    Raises ValueError, naming the range, for a node outside of the table.
    """
    return Interval(*(float(x) for x in at_nodes(name, section, np.array([node_nm]))[0]))


def at_nodes(name: str, section: str, node_nm: Floats) -> Floats:
    """`at_node` for several nodes: (value, low, high), float64 [n, 3]."""
    rows = sorted((float(node), row) for node, row in table(name, section).items())
    nodes = np.array([node for node, _ in rows])
    beyond = ~((node_nm >= nodes[0]) & (node_nm <= nodes[-1]))
    if beyond.any():
        found = node_nm[beyond][0]
        raise ValueError(f"no {section} for {found:g} nm; the table covers {nodes[0]:g} to {nodes[-1]:g} nm")
    ends = np.log([(row.value, row.low, row.high) for _, row in rows])
    found = [np.interp(np.log(node_nm), np.log(nodes), column) for column in ends.T]
    return np.asarray(np.exp(np.stack(found, axis=1)))
