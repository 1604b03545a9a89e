"""Budgets: the largest allowed value of an objective, as a number or relative to the float network's."""

from __future__ import annotations

import re
from collections.abc import Callable

from codesign.errors import InputError
from codesign.search.space.objectives import Objective

_RELATIVE = re.compile(r"float\s*([+*-])\s*(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)\s*(%?)")


def limit_of(objective: Objective, written: float | str, float_value: Callable[[str], float]) -> float:
    """A budget as a number.

    Args:
        objective: what is bounded.
        written: a number, or ``float + 0.1``, ``float - 2 %``, ``float * 1.05``, relative to the float network.
        float_value: measures the quality of a task's float network; asked only where it is needed.
    Raises:
        InputError: neither, or a limit that the objective cannot have.
    """
    if not isinstance(written, str):
        if not objective.is_quality and written <= 0:
            raise InputError(f"{written:g} should be greater than 0")
        return float(written)
    found = _RELATIVE.fullmatch(written.strip())
    if found is None:
        raise InputError(f"'{written}' is no limit: write a number, or such as 'float + 0.1' or 'float * 1.05'")
    if objective.task is None or not objective.is_quality:
        raise InputError(
            f"'{written}' is relative to the float network, which has no {objective.field}: write a number"
        )
    sign, number, percent = found.groups()
    base, change = float_value(objective.task), float(number) / (100 if percent else 1)
    if sign == "*":
        return base * change
    step = change * abs(base) if percent else change
    return base + step if sign == "+" else base - step
