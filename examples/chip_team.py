"""A chip team's journey: which compute unit, which array, which memory?

    python -m examples.chip_team --out chips
    python -m examples.chip_team --out chips --liberty cells.lib    # with your own cells: hours, or --units 24

It compares units of equal lanes (the FP8-or-INT8 question), prices every accelerator of a space for a network by name,
and writes the Verilog of the unit of the fastest one with a self-checking bench.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import codesign
from codesign.cli import main as command
from codesign.designs import Design
from codesign.formats import FormatPair
from codesign.hardware import MacUnit

SPACE = Path(__file__).parents[1] / "search_spaces" / "sd15_hardware.yaml"
UNITS = ("int8", "fp8_e4m3", "int4_g32:int8", "mxfp4")
LANES = 16


def units(model: str = "") -> dict[str, MacUnit]:
    """A unit of LANES lanes for each pair, at 7 nm and 1 GHz."""
    pairs = {name: FormatPair.parse(name) for name in UNITS}
    return {name: MacUnit((pair,), dot=LANES, unit_model=model) for name, pair in pairs.items()}


def show_units(model: str = "") -> None:
    """Area and energy of each unit, with intervals, and in multiples of INT8."""
    found = units(model)
    first = found[UNITS[0]]
    print(f"{LANES} products a cycle     area, um2            energy of a MAC, pJ")
    for name, unit in found.items():
        area, energy = unit.area_um2, unit.energy_pj(unit.pairs[0])
        times = area.value / first.area_um2.value
        print(
            f"{name:<16} {area.value:7.0f} ({area.low:.0f} to {area.high:.0f}), x{times:.2f}   "
            f"{energy.value:.3f} ({energy.low:.3f} to {energy.high:.3f})"
        )


def main(argv: list[str] | None = None) -> Design:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reports/studies/chip_team"), help="folder of the results")
    parser.add_argument("--space", type=Path, default=SPACE, help="search space with given formats")
    parser.add_argument("--liberty", type=Path, help="cells to fit area, delay and energy to, first")
    parser.add_argument("--units", type=int, help="units of a quick grid of that fit, at least 20 (default: all)")
    arguments = parser.parse_args(argv)

    model = ""
    if arguments.liberty:
        fitted = arguments.out / "library"
        quick = ["--units", str(arguments.units)] if arguments.units else []
        command(["calibrate", "--liberty", str(arguments.liberty), "-o", str(fitted), *quick])
        model = str(fitted / "mac_model.yaml")
    show_units(model)

    study = codesign.search(arguments.space, arguments.out / "study")
    fastest = min(study.front, key=lambda design: next(iter(design.objectives.values())))
    chip = fastest.accelerator
    print(f"{study.front.front_size} designs on the front; the fastest: {fastest.id}")
    array = f"dot {chip.dot}, {chip.rows} x {chip.columns}, {chip.sram_bytes >> 10} KiB"
    print(f"  {', '.join(map(str, chip.pairs))}, {array}")
    for name, value in fastest.objectives.items():
        print(f"  {name:<16} {value:.4g}")

    pairs = [str(pair) for pair in chip.pairs]
    verilog = arguments.out / "rtl"
    command(["rtl", *pairs, "--dot", str(LANES), "-o", str(verilog), "--vectors", "1000"])
    return fastest


if __name__ == "__main__":
    main()
