"""``codesign mac``: what one compute unit costs."""

from __future__ import annotations

import argparse
from typing import Any

from codesign.commands.output import print_json, print_table
from codesign.formats import FormatPair
from codesign.hardware import Interval, MacUnit


def run(arguments: argparse.Namespace) -> int:
    pair = FormatPair(arguments.weight, arguments.activation)
    unit = MacUnit((pair,), arguments.accumulator, arguments.dot, arguments.node, arguments.clock)
    values = {"area_um2": unit.area_um2, "delay_ns": unit.delay_ns, "energy_pj": unit.energy_pj(pair)}
    if arguments.json:
        print_json(_described(unit, pair) | {name: value.to_dict() for name, value in values.items()})
        return 0
    labels = {
        "area_um2": "cell area, um2",
        "delay_ns": "shortest clock period, ns",
        "energy_pj": "energy of one multiply-accumulate, pJ",
    }
    title = f"{pair}, {unit.accumulator}, dot-{unit.dot}, {unit.node_nm:g} nm, cut for {unit.clock_ghz:g} GHz"
    print_table(title, ["", "value", "low", "high"], [[labels[n], *_shown(v)] for n, v in values.items()])
    if not unit.is_fitted:
        print(f"dot-{unit.dot} is longer than any unit that the model was fitted to: an extrapolation")
    return 0


def _described(unit: MacUnit, pair: FormatPair) -> dict[str, Any]:
    return {
        "weight": pair.weight,
        "activation": pair.activation,
        "accumulator": unit.accumulator,
        "dot": unit.dot,
        "node_nm": unit.node_nm,
        "clock_ghz": unit.clock_ghz,
        "cuts": sorted(unit.rtl.cuts),
        "fitted": unit.is_fitted,
    }


def _shown(value: Interval) -> list[str]:
    return [f"{v:.4g}" for v in (value.value, value.low, value.high)]
