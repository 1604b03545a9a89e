"""`Answer`: the answer to a question as tables and sentences, with estimates by hand beside the model's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codesign.human import human

Value = str | int | float | None


@dataclass(frozen=True)
class Column:
    """A column of a table: the key of its values in JSON, its heading, and the unit of numbers."""

    key: str
    heading: str
    unit: str = ""

    def text(self, value: Value) -> str:
        if value is None:
            return "-"
        if isinstance(value, str):
            return value
        if self.unit == "%":
            return f"{value:.0%}"
        if not self.unit and float(value).is_integer() and abs(value) < 1e7:
            return f"{value:.0f}"
        return human(float(value), self.unit)


@dataclass(frozen=True)
class Table:
    """Rows of values by key."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, Value], ...]

    @property
    def headings(self) -> list[str]:
        return [column.heading for column in self.columns]

    @property
    def cells(self) -> list[list[str]]:
        """Every value as text; missing values are a dash."""
        return [[column.text(row.get(column.key)) for column in self.columns] for row in self.rows]


@dataclass(frozen=True)
class Estimate:
    """A figure by hand beside that of the model."""

    figure: str
    by_hand: float
    model: float
    unit: str
    how: str  # the sum as one writes it on an envelope

    def to_dict(self) -> dict[str, Value]:
        return {
            "figure": self.figure,
            "by_hand": self.by_hand,
            "model": self.model,
            "model_over_hand": self.model / self.by_hand,
            "unit": self.unit,
            "how": self.how,
        }


@dataclass(frozen=True)
class Answer:
    """What is printed, written as a page, or given as JSON."""

    question: str
    answer: str
    tables: tuple[Table, ...]
    estimates: tuple[Estimate, ...] = ()
    bounds: tuple[str, ...] = ()  # what bounds the figures, a sentence each
    assumptions: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """JSON form."""
        return {
            "question": self.question,
            "answer": self.answer,
            "tables": [{"title": t.title, "rows": [dict(row) for row in t.rows]} for t in self.tables],
            "estimates": [estimate.to_dict() for estimate in self.estimates],
            "bounds": list(self.bounds),
            "assumptions": list(self.assumptions),
        }

    @property
    def by_hand(self) -> Table:
        """The estimates as a table."""
        columns = (
            Column("figure", "figure"),
            Column("hand", "by hand"),
            Column("model", "model"),
            Column("ratio", "model / by hand"),
            Column("how", "how"),
        )
        rows: list[Mapping[str, Value]] = [
            {
                "figure": e.figure,
                "hand": human(e.by_hand, e.unit),
                "model": human(e.model, e.unit),
                "ratio": f"{e.model / e.by_hand:.2f}",
                "how": e.how,
            }
            for e in self.estimates
        ]
        return Table("by hand", columns, tuple(rows))

    def markdown(self, command: str) -> str:
        """The answer as a page; command: the command line that made it."""
        parts = [f"# {self.question}", f"`{command}`", self.answer]
        for table in self.tables:
            parts.append(f"## {table.title[0].upper()}{table.title[1:]}")
            parts.append(_grid(table.headings, table.cells))
        if self.estimates:
            parts += ["## By hand", _grid(self.by_hand.headings, self.by_hand.cells)]
        for title, lines in (("What bounds it", self.bounds), ("Assumptions", self.assumptions)):
            if lines:
                parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)]
        return "\n\n".join(parts) + "\n"


def _grid(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
