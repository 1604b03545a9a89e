"""Quick grids of units: do the errors that they state cover the units that they leave out? Written to quick_grid.md.

    python reports/validation/quick_grid.py

Reads the synthesised units that ship with the package (codesign/hardware/data/mac_units_*.json), fits a part of each
library's units as `codesign calibrate --units N` does, and prices the rest. Takes a minute.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from codesign.formats import FormatPair
from codesign.hardware.calibration.fit.area_delay import (
    Sample,
    area_error,
    delay_error,
    fit_area,
    fit_delay,
    held_out,
    summary,
)
from codesign.hardware.calibration.fit.energy import energy_error, fit_energy
from codesign.hardware.calibration.synthesis.energy import Switched
from codesign.hardware.calibration.synthesis.grid import SHARED_FAMILY, spread, unpipelined
from codesign.hardware.rtl import Unit
from codesign.hardware.units.coefficients import DATA

SIZES = (12, 16, 20, 24, 30, 50, 80)
LIBRARIES = {"ASAP7": "asap7", "sg13g2": "sg13g2", "OSU 180 nm": "osu018"}


def main() -> None:
    lines = [
        "# Quick grids of units",
        "",
        "`codesign calibrate --units N` fits N of the 138 units and states the 90th percentile of the relative error",
        "on held-out units or families, as its upper bound with 90 % confidence. Beside it: that of the",
        "units of one format that were left out, in bold where it is more than what is stated: below the smallest N",
        "that is allowed, 24.",
        "",
        "| library | units | area, stated | found | delay, stated | found | energy, stated | found |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, file in LIBRARIES.items():
        rows = json.loads((DATA / f"mac_units_{file}.json").read_text(encoding="utf-8"))
        for size in SIZES:
            cells = []
            for stated, found in errors(rows, size):
                bold = "**" if found > stated else ""
                cells += [f"{100 * stated:.1f} %", f"{bold}{100 * found:.1f} %{bold}"]
            lines.append(f"| {name} | {size} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def errors(rows: list[dict[str, Any]], size: int) -> list[tuple[float, float]]:
    """(stated, found) of area, delay and energy with a quick grid of `size` units."""
    chosen = {unit.name for _, unit in spread(unpipelined(), size, fewest=1)}
    samples = {True: [], False: []}  # type: dict[bool, list[Sample]]
    energies = {True: [], False: []}  # type: dict[bool, list[Switched]]
    for row in rows:
        pairs = tuple(map(FormatPair.parse, row["pairs"]))
        rates, cuts = tuple(row["rates"]), frozenset(row["cuts"])
        unit = Unit(pairs, row["accumulator"], row["lanes"], rates=rates, cuts=cuts)
        inside = unit.cut(()).name in chosen
        sample = Sample(row["family"], unit, row["clock_ps"], row["parts"], row["area_um2"], row["delay_ps"])
        samples[inside].append(sample)
        if len(pairs) == 1:
            energies[inside] += [Switched.stored(row["family"], unit, row["clock_ps"], each) for each in row["energy"]]
    found = []
    for fit, error in ((fit_area, area_error), (fit_delay, delay_error)):
        coefficients = fit(samples[True])
        single, rest = ([s for s in samples[part] if s.family != SHARED_FAMILY] for part in (True, False))
        stated = max(summary(held_out(single, fit, error, by), few=True)["p90"] for by in ("unit", "family"))
        found.append((stated, p90([error(sample, coefficients) for sample in rest])))
    coefficients = fit_energy(energies[True])
    held = [held_out(energies[True], fit_energy, energy_error, by) for by in ("unit", "family")]
    stated = max(summary(each, few=True)["p90"] for each in held)
    return [*found, (stated, p90([energy_error(row, coefficients) for row in energies[False]]))]


def p90(sizes: list[float]) -> float:
    return float(np.quantile(np.abs(sizes), 0.9))


if __name__ == "__main__":
    main()
