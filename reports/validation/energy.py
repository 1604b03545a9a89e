"""Energy of compute units: what is measured of synthesised units, how well the model tells it, and how far it scatters.

    python reports/validation/energy.py

Reads the units that ship with the package (codesign/hardware/data/mac_units_*.json) and simulates ten units with more
and with fewer transitions. Writes energy.md; takes a minute.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codesign.formats import FormatPair
from codesign.hardware.calibration.fit.area_delay import held_out, summary
from codesign.hardware.calibration.fit.energy import energy_error, fit_energy
from codesign.hardware.calibration.synthesis.energy import Switched
from codesign.hardware.rtl import Unit
from codesign.hardware.rtl.analyse.elaborate import unit_gates
from codesign.hardware.rtl.analyse.toggles import toggles
from codesign.hardware.units.activities import NETWORKS
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.switching import Stimulus

LIBRARIES = {"ASAP7": "asap7", "sg13g2": "sg13g2", "OSU 180 nm": "osu018"}
STREAMS, COUNTED = 192, 12  # of the reference, all of whose cycles are timed
SCATTER = (
    ("int8", "int32", 1),
    ("int4", "int32", 16),
    ("fp8_e4m3", "fp32", 1),
    ("fp8_e4m3", "exact", 4),
    ("mxfp4", "fp32", 32),
    ("bf16", "fp32", 1),
    ("int16", "int40", 1),
    ("nvfp4", "fp32", 8),
    ("fp16", "fp32", 8),
    ("mxint8", "fp32", 8),
)


def main() -> None:
    lines = [
        "# Energy of compute units",
        "",
        "Written by `python reports/validation/energy.py`. Units of the calibration grid, synthesised at two clocks",
        "and simulated with the delays of their cells on operands of the bundled networks and on noise.",
    ]
    for name, file in LIBRARIES.items():
        lines += library_text(name, switched(file))
    lines += scatter_text()
    text = "\n".join(lines) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def switched(file: str) -> list[Switched]:
    """The measured energies of a library."""
    found = []
    for row in json.loads((DATA / f"mac_units_{file}.json").read_text(encoding="utf-8")):
        pairs, rates, cuts = tuple(map(FormatPair.parse, row["pairs"])), tuple(row["rates"]), frozenset(row["cuts"])
        unit = Unit(pairs, row["accumulator"], row["lanes"], rates=rates, cuts=cuts)
        found += [Switched.stored(row["family"], unit, row["clock_ps"], each) for each in row["energy"]]
    return found


def library_text(name: str, rows: Sequence[Switched]) -> list[str]:
    lines = [
        "",
        f"## {name}",
        "",
        f"{len({(row.unit, row.clock_ps) for row in rows})} units, {len(rows)} of them by mode and operands. Shares of",
        "the measured energy: clock pins, nets of registers and ports, settled toggles of gates, glitches (medians).",
        "Error of the model, fitted without the unit and without the family, over all operands.",
        "",
        "| family | units | clock | registers | settled | glitches | without the unit: median, p90, worst "
        "| without the family: median, p90, worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    errors = {by: np.array(held_out(rows, fit_energy, energy_error, by)) for by in ("unit", "family")}
    families = np.array([row.family for row in rows])
    for family in (*dict.fromkeys(families.tolist()), "all"):
        chosen = np.flatnonzero((families == family) | (family == "all"))
        own = [rows[i] for i in chosen]
        parts = np.array([[r.found.clock_fj, r.found.register_fj, r.found.settled_fj, r.found.glitch_fj] for r in own])
        shares = np.median(parts / parts.sum(axis=1, keepdims=True), axis=0)
        cells = [family, str(len({(row.unit, row.clock_ps) for row in own})), *(f"{100 * x:.0f} %" for x in shares)]
        for found in errors.values():
            cells.append(", ".join(f"{100 * x:.1f} %" for x in summary(found[chosen].tolist()).values()))
        lines.append(f"| {' | '.join(cells)} |")
    order = np.argsort(-np.abs(errors["unit"]))
    worst = dict.fromkeys(rows[i].unit.name for i in order[:12])
    lines += ["", f"Told worst: {', '.join(f'`{unit}`' for unit in worst)}."]
    return lines


def scatter_text() -> list[str]:
    lines = [
        "",
        "## Scatter",
        "",
        f"All toggles of ten units that are not pipelined, against {STREAMS} streams with {COUNTED} timed cycles: root",
        "mean square and largest difference of the mean of both networks.",
        "",
        "| streams of each network | timed cycles | rms | largest |",
        "|---|---|---|---|",
    ]
    units = [Unit((FormatPair.parse(pair),), sums, lanes) for pair, sums, lanes in SCATTER]
    reference = np.array([total(unit, STREAMS, 1) for unit in units])
    for streams, every in ((32, 3), (64, 12), (64, 6), (64, 3), (64, 2), (128, 3)):
        off = np.array([total(unit, streams, every) for unit in units]) / reference - 1
        rms, most = (f"{100 * x:.1f} %" for x in (np.sqrt((off**2).mean()), np.abs(off).max()))
        lines.append(f"| {streams} | {COUNTED // every} | {rms} | {most} |")
    return [*lines, "", "The model and the simulation of netlists take 64 streams of each network and 4 timed cycles."]


def total(unit: Unit, streams: int, every: int) -> float:
    read = Stimulus.of(unit, 0, NETWORKS, streams)
    timed = read.counted[::every]
    found = toggles(unit_gates(unit), read.ports, read.counted, timed, read.masks)
    return float((found.settled + found.glitches).sum(axis=0).mean())


if __name__ == "__main__":
    main()
