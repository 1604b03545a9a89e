"""Numbers with provenance: every coefficient of the cost model is a row of a YAML file in ``hardware/data/``.

A row has ``value`` (optionally ``low`` and ``high``), ``unit``, ``source`` and ``quality``:
measured (our own synthesis), fitted, published (read in the primary source), second (not read
there: quoted by another source or from memory) or assumption.
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
    """A value with the range it is believed to lie in; low <= value <= high."""

    value: float
    low: float
    high: float

    def scaled(self, other: Interval) -> Interval:
        """Product of two non-negative intervals."""
        return Interval(self.value * other.value, self.low * other.low, self.high * other.high)

    def to_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


class CoefficientRow(TypedDict):
    """A coefficient as a data file has it; without `low` and `high` its interval is the value."""

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
        """Raises ValueError where provenance is missing or the interval does not hold the value."""
        missing = [key for key in ("value", "unit", "source", "quality") if key not in row]
        if missing:
            raise ValueError(f"coefficient without {', '.join(missing)}: {dict(row)}")
        if row["quality"] not in QUALITIES:
            raise ValueError(f"unknown quality {row['quality']!r}; one of {', '.join(QUALITIES)}")
        value = float(row["value"])
        low, high = float(row.get("low", value)), float(row.get("high", value))
        if not low <= value <= high:
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
    """The coefficients of one section of a data file, by key."""
    return {key: Coefficient.of(row) for key, row in read_data(name)[section].items()}


def at_node(name: str, section: str, node_nm: float) -> Interval:
    """Coefficient at a process node: the tabled one, or log-log interpolated between its neighbours.

    Beyond the table's ends the end value would be a guess: raises ValueError naming the range.
    """
    return Interval(*(float(x) for x in at_nodes(name, section, np.array([node_nm]))[0]))


def at_nodes(name: str, section: str, node_nm: Floats) -> Floats:
    """`at_node` of many: (value, low, high) at each node, float64 [n, 3]."""
    rows = sorted((float(node), row) for node, row in table(name, section).items())
    nodes = np.array([node for node, _ in rows])
    beyond = ~((node_nm >= nodes[0]) & (node_nm <= nodes[-1]))
    if beyond.any():
        found = node_nm[beyond][0]
        raise ValueError(f"no {section} for {found:g} nm; the table covers {nodes[0]:g} to {nodes[-1]:g} nm")
    ends = np.log([(row.value, row.low, row.high) for _, row in rows])
    found = [np.interp(np.log(node_nm), np.log(nodes), column) for column in ends.T]
    return np.asarray(np.exp(np.stack(found, axis=1)))
