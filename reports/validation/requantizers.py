"""Requantizers synthesised and simulated, beside what the model of compute units says of them.

    python reports/validation/requantizers.py -o DIR --liberty NAME FILE...

NAME is the library of a shipped model (asap7, sg13g2 or osu018). Each requantizer is cut for both clocks of the model's
calibration, synthesised as units are, and simulated with the delays of its cells on results of the bundled networks.
None of them was calibrated on. DIR keeps a line for each; the report, requantizers.json and requantizers.md, is written
from what DIR holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from codesign.hardware.calibration.liberty.cells import cells_delay
from codesign.hardware.calibration.liberty.library import read_liberty, write_merged
from codesign.hardware.calibration.synthesis.energy import Simulator
from codesign.hardware.calibration.synthesis.netlist import read_netlist
from codesign.hardware.calibration.synthesis.yosys import find_yosys, synthesize
from codesign.hardware.rtl.emit.requantize import BuiltRequantizer, build_requantizer, whole_requantizer
from codesign.hardware.units.activities import NETWORKS
from codesign.hardware.units.requantizers import cut_for, modelled_delay_ps, modelled_pj, modelled_um2
from codesign.hardware.units.results import read_results
from codesign.hardware.units.unit_model import UnitModel, load_model
from codesign.report.markdown import table

HERE = Path(__file__).parent
LIBRARIES = ("asap7", "sg13g2", "osu018")
FORMATS = ("bf16", "int8", "int4", "fp8_e4m3", "int8_token", "mxint8", "mxfp8_e4m3", "mxfp4", "nvfp4", "int4_g32")
LIMIT_S = 1800


def requantizers(model: UnitModel) -> list[tuple[BuiltRequantizer, float]]:
    """(requantizer, its clock period in ps), the small ones first."""
    found = []
    for name in FORMATS:
        cuts = [(cut_for(whole_requantizer(name), model, clock), clock) for clock in model.provenance.clocks_ps]
        found += [(build_requantizer(cut), clock) for cut, clock in cuts]
    return found


def measure(folder: Path, library: str, liberty: list[Path]) -> None:
    log = folder / f"requantizers_{library}.jsonl"
    done = {json.loads(line)["verilog"] for line in log.read_text().splitlines()} if log.exists() else set()
    tool, merged, cells = find_yosys(None), folder / f"{library}.lib", read_liberty(*liberty)
    assert tool is not None
    write_merged(liberty, merged)
    simulator, overhead_ps = Simulator(cells), sum(cells_delay(cells))
    for built, clock in requantizers(load_model(f"mac_model_{library}.yaml")):
        if (key := identity(built, clock)) in done:
            continue
        place = folder / f"{library}_{key[:16]}"
        made = synthesize(built.text, "requantize", merged, clock, LIMIT_S, place, tool)
        netlist = read_netlist(made.netlist_json, "requantize", cells)
        energies = simulator.simulated(netlist, [read_results(built)], NETWORKS)
        row = {
            "verilog": key,
            "area_um2": round(made.area_um2, 2),
            "delay_ps": None if made.delay_ps is None else round(made.delay_ps + overhead_ps, 1),
            "energy_fj": {energy.activity: round(energy.dynamic_fj, 2) for energy in energies},
            "glitch_fj": {energy.activity: round(energy.glitch_fj, 2) for energy in energies},
            "script": hashlib.sha256(made.script.encode()).hexdigest()[:16],
        }
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(library, built.unit.format, clock, row["area_um2"], row["delay_ps"], row["energy_fj"], flush=True)


def identity(built: BuiltRequantizer, clock: float) -> str:
    return hashlib.sha256(f"{built.text}\0{clock:g}".encode()).hexdigest()


def compared(folder: Path, library: str) -> list[dict[str, Any]]:
    """The measured requantizers of today's Verilog, beside what the model of today says, per number of a cycle."""
    log = folder / f"requantizers_{library}.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    known, model = {row["verilog"]: row for row in rows}, load_model(f"mac_model_{library}.yaml")
    found = []
    for built, clock in requantizers(model):
        row = known.get(identity(built, clock))
        if row is None:
            continue
        unit, lanes = built.unit, built.unit.lanes
        energy = float(np.mean(list(row["energy_fj"].values())))
        found.append(
            {
                "library": library,
                "format": unit.format,
                "kind": unit.kind,
                "lanes": lanes,
                "clock_ps": clock,
                "latency": built.latency["code"],
                "area_um2": row["area_um2"] / lanes,
                "model_area_um2": modelled_um2(unit, model),
                "delay_ps": row["delay_ps"],
                "model_delay_ps": modelled_delay_ps(unit, model),
                "energy_pj": energy * 1e-3 / lanes,
                "glitches": float(np.mean(list(row["glitch_fj"].values()))) / energy,
                "model_energy_pj": modelled_pj(unit, model),
            }
        )
    return found


def report(folder: Path) -> None:
    rows = [row for library in LIBRARIES for row in compared(folder, library)]
    (HERE / "requantizers.json").write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    lines = [
        "# Requantizers",
        "",
        "Written by `python reports/validation/requantizers.py`; one row each in requantizers.json. Requantizers from",
        "FP32 to the formats, cut by the model for both clocks of each library's calibration, synthesised and",
        "simulated as units are, on results of the bundled networks; none was calibrated on. Area and energy per",
        "number of a cycle.",
    ]
    for library in LIBRARIES:
        own = [row for row in rows if row["library"] == library]
        if not own:
            continue
        lines += ["", f"## {library}", ""]
        for quantity, unit in (("area", "um2"), ("delay", "ps"), ("energy", "pj")):
            ratios = np.array([row[f"{quantity}_{unit}"] / row[f"model_{quantity}_{unit}"] for row in own])
            low, middle, high = (f"{x:.2f}" for x in (ratios.min(), np.median(ratios), ratios.max()))
            lines.append(f"- {quantity}, synthesised over modelled: {middle} (median), {low} to {high}")
        late = [row for row in own if row["delay_ps"] > row["clock_ps"]]
        said = [f"{each['format']} at {each['clock_ps']:g} ps by {_beyond(each):.0%}" for each in late]
        lines.append(f"- longer than their clock: {', '.join(said) or 'none'}")
        missing = [name for name in FORMATS if sum(row["format"] == name for row in own) < 2]
        if missing:
            lines.append(f"- not synthesised at both clocks: {', '.join(missing)}")
        cells = [
            [
                row["format"],
                row["kind"],
                f"{row['clock_ps']:g}",
                str(row["latency"]),
                *_pair(row, "area_um2", ".1f"),
                *_pair(row, "delay_ps", ".0f"),
                *_pair(row, "energy_pj", ".3g"),
                f"{100 * row['glitches']:.0f} %",
            ]
            for row in own
        ]
        heads = ["format", "scale", "clock ps", "latency"]
        heads += [f"{what} {how}" for what in ("um2", "ps", "pJ") for how in ("synthesised", "modelled")]
        lines += ["", table([*heads, "glitches"], cells)]
    (HERE / "requantizers.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _beyond(row: dict[str, Any]) -> float:
    return float(row["delay_ps"] / row["clock_ps"] - 1)


def _pair(row: dict[str, Any], key: str, form: str) -> list[str]:
    said = row[f"model_{key}"]
    return [f"{row[key]:{form}}", f"{said:{form}} ({100 * (said / row[key] - 1):+.0f} %)"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--liberty", nargs="+", metavar=("NAME", "FILE"), default=())
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.liberty:
        library, *files = arguments.liberty
        measure(arguments.out, library, [Path(file) for file in files])
    report(arguments.out)


if __name__ == "__main__":
    main()
