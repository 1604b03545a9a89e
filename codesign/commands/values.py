"""The values of options: what argparse makes of their text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from codesign.errors import InputError

if TYPE_CHECKING:
    from codesign.models import TaskOptions


def folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a folder, not an empty name")
    return Path(text)


def positive(text: str) -> int:
    return whole(text, least=1)


def whole(text: str, least: int = 0) -> int:
    value = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, not '{text[:20]}'")
    return value


def seed(text: str) -> int:
    value = whole(text) if len(text) <= len(str(_MOST_SEED)) else _MOST_SEED + 1
    if value > _MOST_SEED:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {_MOST_SEED}, not '{text[:20]}'")
    return value


_MOST_SEED = 2**32 - 1  # numpy's generators of old, which Optuna's samplers use, take 32 bits


def above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above zero, not '{text[:20]}'")
    return value


def duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|d)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a time such as 90s, 20m or 6h, not '{text}'")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}[match[2]]


def steps(text: str) -> tuple[str, ...]:
    """Steps of preparation, separated by commas, or a word, see `codesign.models.preparation.steps_of`."""
    from codesign.models.preparation import steps_of

    try:
        return steps_of([word.strip() for word in text.split(",")])
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def task_options(written: Sequence[str]) -> TaskOptions | None:
    """The options of --set KEY=VALUE, one or more; None without any. Raises InputError on an unknown key or value."""
    if not written:
        return None
    from codesign.models import TaskOptions
    from codesign.yamlio import parse_options

    return parse_options("--set", written, TaskOptions, "KEY=VALUE, such as length=128")
