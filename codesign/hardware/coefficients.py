"""Numbers with provenance: every coefficient of the cost model is a row of a YAML file in ``data/``.

A row has ``value`` (optionally ``low`` and ``high``), ``unit``, ``source`` and ``quality``:
measured (our own synthesis), fitted, published (read in the primary source), second (not read
there: quoted by another source or from memory) or assumption.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"
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
    def of(cls, row: Mapping[str, Any]) -> Coefficient:
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
    rows = table(name, section)
    nodes = sorted(float(node) for node in rows)
    if not nodes[0] <= node_nm <= nodes[-1]:
        raise ValueError(f"no {section} for {node_nm:g} nm; the table covers {nodes[0]:g} to {nodes[-1]:g} nm")
    by_node = {float(node): row for node, row in rows.items()}
    above = next(node for node in nodes if node >= node_nm)
    if above == node_nm:
        return by_node[above].interval
    below = max(node for node in nodes if node < node_nm)
    share = _log_share(node_nm, below, above)
    low, high = by_node[below], by_node[above]

    def mix(a: float, b: float) -> float:
        return float(a ** (1 - share) * b**share)

    return Interval(mix(low.value, high.value), mix(low.low, high.low), mix(low.high, high.high))


def _log_share(x: float, low: float, high: float) -> float:
    import math

    return math.log(x / low) / math.log(high / low)
