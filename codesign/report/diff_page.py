"""The comparison of two studies as a page: the verdict, the change with its interval, and what came, went and moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

from codesign.files import read_text
from codesign.report.diff import Difference, balanced_words, remeasured_words

_TEMPLATE = Path(__file__).parent / "template"
VERDICTS = {"better": "better", "same": "no change beyond noise", "worse": "worse"}
_MOST_BAR = 0.45  # half of the bar's width that the larger end of the interval takes


def diff_page(found: Difference, back: str = "") -> str:
    """The page of a comparison; back: address of the index that it belongs to."""
    parts = [
        f"<p>{escape(found.old)}, compared with {escape(found.new)}.</p>",
        _change(found),
        _designs(found),
        _balanced(found),
        _remeasured(found),
        _formats(found),
        _section("Other differences", _list(found.notes)) if found.notes else "",
        f'<p><a href="{escape(back)}">All nights</a></p>' if back else "",
    ]
    title = f"{Path(found.new).name}: {VERDICTS[found.verdict]}"
    text = Template(read_text(_TEMPLATE / "diff.html"))
    return text.substitute(title=escape(title), css=read_text(_TEMPLATE / "report.css"), body="\n".join(parts))


def _change(found: Difference) -> str:
    before, after = found.hypervolume
    interval = f"95 % interval {found.change_low:+.2%} to {found.change_high:+.2%}"
    said = f"hypervolume {before:.5g} to {after:.5g}, {found.change:+.2%} ({interval})"
    covered = (
        f"The new front covers the old one within {found.epsilon[0]:.3f} of its span, the old one the new within "
        f"{found.epsilon[1]:.3f}."
    )
    why = ""
    if any(each.moved == "worse" for each in found.remeasured):
        why = "<p>Worse: a network in the same formats measures worse than its old interval allows, see below.</p>"
    return _section("Change", f"<p>{escape(said)}</p>{_bar(found)}{why}<p>{escape(covered)}</p>")


def _bar(found: Difference) -> str:
    """The interval of the change as a bar around zero."""
    widest = max(abs(found.change_low), abs(found.change_high), 1e-12)
    low, value, high = (50 + 100 * _MOST_BAR * v / widest for v in (found.change_low, found.change, found.change_high))
    said = f"{found.change:+.2%}, from {found.change_low:+.2%} to {found.change_high:+.2%}; the line in the middle is 0"
    return (
        f'<svg class="interval" role="img" aria-label="{escape(said)}" viewBox="0 0 100 8" preserveAspectRatio="none">'
        f'<line x1="{low:.2f}" x2="{high:.2f}" y1="4" y2="4" stroke-width="3"/>'
        f'<line x1="{value:.2f}" x2="{value:.2f}" y1="0" y2="8"/>'
        '<line x1="50" x2="50" y1="0" y2="8" class="zero"/></svg>'
    )


def _designs(found: Difference) -> str:
    rows = [
        ["kept", str(len(found.kept)), ", ".join(found.kept)],
        ["gained", str(len(found.gained)), ", ".join(found.gained)],
        ["lost", str(len(found.lost)), ", ".join(found.lost)],
        ["dominated by a new one", str(len(found.newly_dominated)), ", ".join(found.newly_dominated)],
    ]
    return _section("Designs", _table(["designs", "number", "which"], rows, texts={2}))


def _balanced(found: Difference) -> str:
    columns = ["objective", *found.balanced, "change"]
    return _section("The balanced design", _table(columns, balanced_words(found)))


def _remeasured(found: Difference) -> str:
    if not found.remeasured:
        return ""
    rows = [[r.design, r.task, *remeasured_words(found, r), r.moved] for r in found.remeasured]
    columns = ["design", "network", "before", "now", "moved"]
    return _section("Measured otherwise in the same formats", _table(columns, rows))


def _formats(found: Difference) -> str:
    rows = [[f"{task}: {layer}", *change] for task, layers in found.formats.items() for layer, change in layers.items()]
    if not rows:
        return ""
    return _section("Layers of the balanced design in other formats", _table(["layer", "before", "now"], rows))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(str(line))}</li>' for line in lines)}</ul>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: set[int] | None = None) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="text">{escape(cell)}</td>' if i in (texts or ()) else f"<td>{escape(cell)}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
