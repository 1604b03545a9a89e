"""``codesign mac``: area, delay and energy of one compute unit."""

from __future__ import annotations

import argparse
from typing import TypedDict

from codesign.commands.output import print_json, print_table
from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.units.mac import baselines
from codesign.hardware.units.requantizers import requantizer_cost


def unit_of(arguments: argparse.Namespace, pairs: tuple[FormatPair, ...]) -> MacUnit:
    """The unit that the options of `mac` and `rtl` name."""
    return MacUnit(
        pairs,
        arguments.accumulator,
        arguments.dot,
        arguments.node,
        arguments.clock,
        str(arguments.model or ""),
        arguments.fast_floats,
    )


def run(arguments: argparse.Namespace) -> int:
    pairs = (FormatPair(arguments.weight, arguments.activation), *map(FormatPair.parse, arguments.also))
    unit = unit_of(arguments, pairs)
    result = _described(unit)
    if arguments.json:
        print_json(result)
        return 0
    names = ", ".join(map(str, unit.pairs))
    silicon = f"cells of {unit.unit_model}" if unit.unit_model else f"{unit.node_nm:g} nm"
    title = f"{names}, {unit.accumulator}, dot-{unit.dot}, {silicon}, pipelined for {unit.clock_ghz:g} GHz"
    rows = [
        ["cell area, um2", *_shown(result["area_um2"])],
        *([f"  {name}", f"{area:.4g}", "", ""] for name, area in result["area_um2_by_section"].items()),
        ["shortest clock period, ns", *_shown(result["delay_ns"])],
        ["leakage of the unit, nW", *_shown(result["leakage_nw"])],
    ]
    for mode in result["modes"]:
        rate = f"{mode['products_per_cycle']} per cycle"
        rows.append([f"{mode['pair']} ({rate}): energy of one MAC, pJ", *_shown(mode["energy_pj"])])
        for name, energy in mode["energy_pj_by_activity"].items():
            rows.append([f"  on operands of {name}" if name != "noise" else "  on uniform noise", *_shown(energy)])
    print_table(title, ["", "value", "low", "high"], rows)
    print_table(
        "floats for scale, same dot length, node and clock",
        ["unit", "cell area, um2", "of this one's", "energy of one MAC, pJ", "of this one's"],
        [_beside(result, baseline) for baseline in result["baselines"]],
    )
    if len(unit.pairs) > 1:
        print(f"sharing: {100 * (result['sharing_overhead'] - 1):.0f} % over the largest unit of one of these pairs")
    if (cost := result["requantizer"]) is not None:
        print(
            f"requantizing a result to {cost['format']}: {cost['area_um2']['value']:.3g} um2 for one a cycle, "
            f"{cost['energy_pj']['value']:.3g} pJ"
        )
    reached = result["reached_ghz"]
    if reached < unit.clock_ghz:
        print(
            f"cut for {unit.clock_ghz:g} GHz, reaches {reached:.3g} GHz by the model: its longest step takes "
            f"{unit.delay_ns.value:.3g} ns, which no further register shortens"
        )
    for phrase in unit.extrapolation:
        print(f"{phrase}: an extrapolation")
    return 0


class _Mode(TypedDict):
    """A mode of the unit in JSON."""

    pair: str
    products_per_cycle: int
    energy_pj: dict[str, float]  # per MAC: value, low, high
    energy_pj_by_activity: dict[str, dict[str, float]]  # by kind of operands


class _Baseline(TypedDict):
    """A float unit for scale in JSON."""

    pair: str
    accumulator: str
    area_um2: dict[str, float]
    delay_ns: dict[str, float]
    energy_pj: dict[str, float]  # per MAC


class _Requantizer(TypedDict):
    """The requantizer of a result to the unit's activations in JSON, for one result a cycle."""

    format: str
    kind: str  # how its scale is found: cast, given, range or block
    area_um2: dict[str, float]
    energy_pj: dict[str, float]


class _Unit(TypedDict):
    """The unit in JSON."""

    weight: str
    activation: str
    accumulator: str
    dot: int
    node_nm: float
    clock_ghz: float  # for which it is cut
    reached_ghz: float  # by the model's central delay, at most clock_ghz
    model: str
    cuts: list[str]
    extrapolation: list[str]
    area_um2: dict[str, float]
    area_um2_by_section: dict[str, float]  # multipliers, alignment, tree, scales, accumulator, registers
    delay_ns: dict[str, float]
    leakage_nw: dict[str, float]
    energy_pj: dict[str, float]
    sharing_overhead: float
    modes: list[_Mode]
    baselines: list[_Baseline]
    requantizer: _Requantizer | None  # to the activations of the first pair; None to fp32


def _described(unit: MacUnit) -> _Unit:
    largest = max(
        MacUnit((p,), unit.accumulator, unit.dot, unit.node_nm, unit.clock_ghz, unit.unit_model).area_um2.value
        for p in unit.pairs
    )
    return {
        "weight": unit.pairs[0].weight,
        "activation": unit.pairs[0].activation,
        "accumulator": unit.accumulator,
        "dot": unit.dot,
        "node_nm": unit.node_nm,
        "clock_ghz": unit.clock_ghz,
        "reached_ghz": unit.reached_ghz,
        "model": unit.model.name,
        "cuts": sorted(unit.rtl.cuts),
        "extrapolation": list(unit.extrapolation),
        "area_um2": unit.area_um2.to_dict(),
        "area_um2_by_section": unit.area_by_section,
        "delay_ns": unit.delay_ns.to_dict(),
        "leakage_nw": unit.leakage_nw.to_dict(),
        "energy_pj": unit.energy_pj(unit.pairs[0]).to_dict(),
        "sharing_overhead": unit.area_um2.value / largest,
        "modes": [
            {
                "pair": str(pair),
                "products_per_cycle": unit.dot * unit.rate(pair),
                "energy_pj": unit.energy_pj(pair).to_dict(),
                "energy_pj_by_activity": {a: unit.energy_pj(pair, a).to_dict() for a in unit.model.activities},
            }
            for pair in unit.pairs
        ],
        "baselines": [
            {
                "pair": str(other.pairs[0]),
                "accumulator": other.accumulator,
                "area_um2": other.area_um2.to_dict(),
                "delay_ns": other.delay_ns.to_dict(),
                "energy_pj": other.energy_pj(other.pairs[0]).to_dict(),
            }
            for other in baselines(unit)
        ],
        "requantizer": _requantizer(unit),
    }


def _requantizer(unit: MacUnit) -> _Requantizer | None:
    name = unit.pairs[0].activation
    cost = requantizer_cost(name, unit)
    if cost is None:
        return None
    return {
        "format": name,
        "kind": cost.kind,
        "area_um2": cost.area_um2.to_dict(),
        "energy_pj": cost.energy_pj.to_dict(),
    }


def _beside(unit: _Unit, other: _Baseline) -> list[str]:
    """A row of the table of baselines."""
    area, energy = other["area_um2"]["value"], other["energy_pj"]["value"]
    return [
        f"{FormatPair.parse(other['pair']).formats} + {other['accumulator']}",
        f"{area:.4g}",
        f"{area / unit['area_um2']['value']:.3g}x",
        f"{energy:.4g}",
        f"{energy / unit['energy_pj']['value']:.3g}x",
    ]


def _shown(value: dict[str, float]) -> list[str]:
    return [f"{value[key]:.4g}" for key in ("value", "low", "high")]
