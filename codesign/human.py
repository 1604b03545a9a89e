"""Numbers as people read them: three or four digits, with an SI prefix where the unit takes one."""

from __future__ import annotations

_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
)


def human(value: float, unit: str) -> str:
    """A number with three significant digits, and an SI prefix for s, J, B, bit2 and count; four digits otherwise."""
    if value == 0:
        return "0"
    if unit == "count" and abs(value) < 1:  # a share or a ratio
        return f"{value:.4g}"
    if unit in ("s", "J", "B", "bit2", "count"):
        for factor, prefix in _PREFIXES:
            if abs(value) >= factor * 0.9995:
                return f"{value / factor:.3g} {prefix}{'' if unit == 'count' else unit}".strip()
    return f"{value:.4g} {unit}".strip()
