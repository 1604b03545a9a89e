"""What differs between two resolved spaces, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_MOST = 3  # differences that are named
_LONGEST = 80  # characters of a value
_NONE = object()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The keys that differ with both values: ``hardware.rows: [2, 4] before, [2, 8] now``; '' if none does."""
    found = list(_changes("", before, now))
    more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
    return "; ".join(found[:_MOST]) + more


def _changes(key: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for part in dict.fromkeys([*before, *now]):
            yield from _changes(f"{key}.{part}" if key else part, before.get(part, _NONE), now.get(part, _NONE))
    elif before != now:
        yield f"{key}: {_short(before)} before, {_short(now)} now"


def _short(value: Any) -> str:
    text = "absent" if value is _NONE else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
