"""How deep each step of a datapath is, and where to cut it for a clock.

A step's delay is a sum over kinds of logic: levels of adders with a carry chain (log2 of the
width), of carry-save adders, of selectors, of detectors. `Delays` says what a level takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

from codesign.hardware.rtl.blocks import ceil_log2
from codesign.hardware.rtl.modes import GROUP_WINDOW, Mode
from codesign.hardware.rtl.pipeline import LOOP, STEPS

KINDS = ("stage", "carry", "compress", "select", "detect")
LAST = "accumulate"  # what follows the last possible cut
Depth = dict[str, float]


def depths(mode: Mode) -> dict[str, Depth]:
    """Levels of each kind in each step that the mode has, in the order of the data."""
    found: dict[str, Depth] = {}
    terms = mode.products // mode.groups
    width = mode.field + ceil_log2(terms) + (0 if mode.is_integer else 1)
    bits = mode.fixed_accumulator
    if mode.accumulator.kind == "integer":
        rows = mode.weight.bits * terms
    else:
        narrow = min(mode.weight.significand, mode.activation.significand)
        product = {"compress": _levels(narrow), "carry": log2(mode.product_bits), "detect": 1.0}
        exponent = mode.weight.highest + mode.activation.highest
        found["multiply"] = product
        align: Depth = {}
        if mode.is_aligned:
            compare = log2(max(exponent.bit_length(), 2))
            align = {"carry": compare * ceil_log2(terms) + compare, "select": float(ceil_log2(terms))}
        if mode.field > mode.product_bits or mode.is_aligned:
            align["carry"] = align.get("carry", 0.0) + log2(max(exponent.bit_length(), 2))
            align["select"] = align.get("select", 0.0) + ceil_log2(min(mode.exponent_range, mode.field) + 1)
        found["align"] = align
        rows = terms + 1
    found["reduce"] = {"compress": _levels(rows), "detect": 1.0}
    if bits:
        found[LAST] = {"compress": 1.0, "carry": log2(bits)}
        return found
    element = mode.float_element
    assert element is not None
    found["sum"] = {"carry": log2(width)}
    found["scale"] = {"carry": log2(width)}
    magnitude = width - 1
    if mode.scale_bits:
        found["scale"] = {"carry": log2(width) + log2(width + mode.scale_bits), "compress": _levels(mode.scale_bits)}
        magnitude += mode.scale_bits
    if mode.groups > 1:
        found["group"] = {
            "carry": 2 * log2(10) + log2(GROUP_WINDOW) * 2,
            "select": log2(GROUP_WINDOW) + ceil_log2(mode.groups),
            "compress": _levels(mode.groups + 1),
        }
        magnitude = GROUP_WINDOW + ceil_log2(mode.groups)
    found["normalise"] = {"select": log2(max(magnitude, 2)), "detect": log2(max(magnitude, 2)), "carry": 3.0}
    frame = max(element.mantissa_bits + 1, magnitude) + 3
    found["fp_align"] = {"carry": log2(frame) + 3.0, "select": 1 + log2(frame), "detect": 1.0}
    found["fp_add"] = {"carry": log2(frame)}
    found[LAST] = {"detect": 2 * log2(frame), "select": 2 * log2(frame), "carry": log2(element.bits) + 3.0}
    return found


def delay_ps(depth: Mapping[str, float], level_ps: Mapping[str, float]) -> float:
    """Delay of one step."""
    return sum(levels * level_ps[kind] for kind, levels in depth.items())


def stages(mode: Mode, cuts: frozenset[str]) -> list[Depth]:
    """Levels of each pipeline stage: every step up to a cut belongs to one."""
    found: list[Depth] = [{"stage": 1.0}]
    steps = depths(mode)
    for step in (*STEPS, LAST):
        for kind, levels in steps.get(step, {}).items():
            found[-1][kind] = found[-1].get(kind, 0.0) + levels
        if step in cuts and step in steps:
            found.append({"stage": 1.0})
    return found


def plan(modes: tuple[Mode, ...], period_ps: float, level_ps: Mapping[str, float]) -> frozenset[str]:
    """Cuts that keep every stage within the period where a step alone does, as few as one pass finds."""
    cuts: set[str] = set()
    for mode in modes:
        used = level_ps["stage"]
        previous: str | None = None
        for step, depth in _ordered(mode):
            delay = delay_ps(depth, level_ps)
            if previous in cuts:
                used = level_ps["stage"]
            if used + delay > period_ps and previous is not None and used > level_ps["stage"]:
                cuts.add(previous)
                used = level_ps["stage"]
            used += delay
            previous = step
    return frozenset(cuts)


def _ordered(mode: Mode) -> list[tuple[str, Depth]]:
    steps = depths(mode)
    return [(step, steps[step]) for step in (*STEPS, LAST) if step in steps]


def _levels(rows: float) -> float:
    """Levels of 3:2 adders that leave two rows."""
    return max(log2(rows / 2) / log2(1.5), 0.0) if rows > 2 else 0.0


__all__ = ["KINDS", "LAST", "LOOP", "delay_ps", "depths", "plan", "stages"]
