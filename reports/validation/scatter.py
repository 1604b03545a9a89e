"""How far synthesis itself scatters: the same unit in ten orders of its statements and names of its nets.

    python reports/validation/scatter.py -o DIR --liberty NAME FILE...

NAME: a library with a shipped model (asap7, sg13g2 or osu018). The function of a unit, its gates as written and the
script of synthesis stay the same; only the order in which yosys and ABC meet them changes, which decides ties. DIR
keeps netlists, from which a later run resumes. Writes scatter.json and scatter.md, from what scatter.json holds of
other libraries; about 10 minutes a library.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np

from codesign.formats import FormatPair
from codesign.hardware.calibration.liberty.library import write_merged
from codesign.hardware.calibration.synthesis.batch import Job, synthesize_many
from codesign.hardware.rtl import Unit, build
from codesign.hardware.units.unit_model import SHIPPED, SHIPPED_7NM, load_model
from codesign.report.markdown import table

HERE = Path(__file__).parent
ORDERS = 10
MODELS = {"asap7": SHIPPED_7NM, "sg13g2": SHIPPED[130.0], "osu018": SHIPPED[180.0]}
UNITS = (
    ("int8", "int32", 1),
    ("int8", "int32", 16),
    ("int4:int8", "int32", 8),
    ("int4", "int24", 16),
    ("fp8_e4m3", "fp32", 1),
    ("fp8_e4m3", "exact", 4),
    ("fp8_e4m3", "aligned16", 4),
    ("fp4_e2m1", "fp32", 1),
    ("fp4_e2m1", "exact", 16),
    ("bf16", "fp32", 1),
    ("mxfp4", "fp32", 8),
    ("nvfp4", "fp32", 8),
)


def reordered(verilog: str, seed: int) -> str:
    """The same module with its statements in another order and its nets under other names; as it is for seed 0."""
    if not seed:
        return verilog
    draw = random.Random(seed)
    head, body = verilog.split(");\n", 1)
    declared, statements, names = [], [], []
    for line in body.removesuffix("endmodule\n").splitlines():
        wire = re.fullmatch(r"  (wire \[\d+:0\]) (\w+) = (.*)", line)
        if wire:
            declared.append(f"  {wire[1]} {wire[2]};")
            statements.append(f"  assign {wire[2]} = {wire[3]}")
            names.append(wire[2])
        elif register := re.fullmatch(r"  reg \[\d+:0\] (\w+);", line):
            declared.append(line)
            names.append(register[1])
        elif not line.strip().startswith(("//", "wire unused")):
            statements.append(line)
    draw.shuffle(declared)
    draw.shuffle(statements)
    places = draw.sample(range(len(names)), len(names))
    other = {name: f"net_{place}" for name, place in zip(names, places, strict=True)}
    text = "\n".join([*declared, *statements])
    return f"{head});\n" + re.sub(r"\b[A-Za-z]\w*\b", lambda word: other.get(word[0], word[0]), text) + "\nendmodule\n"


def jobs(library: str, folder: Path, liberty: list[Path]) -> list[tuple[str, Job]]:
    merged = folder / f"{library}.lib"
    write_merged(liberty, merged)
    model = load_model(MODELS[library])
    found = []
    for place, (text, accumulator, lanes) in enumerate(UNITS):
        whole = Unit((FormatPair.parse(text),), accumulator, lanes)
        clock = model.provenance.clocks_ps[place % 2]
        unit = whole.cut(model.plan(whole, clock).cuts)
        label = f"{text}, {accumulator}, dot-{lanes}, {len(unit.cuts)} cut{'s' * (len(unit.cuts) != 1)}"
        verilog = build(unit).text
        found += [
            (label, Job(f"{label} {seed}", reordered(verilog, seed), "unit", merged, clock, 240.0))
            for seed in range(ORDERS)
        ]
    return found


def measured(library: str, folder: Path, liberty: list[Path]) -> list[dict[str, Any]]:
    """(unit, clock) -> area and delay in each order."""
    todo = jobs(library, folder, liberty)
    show = lambda outcome, done, total: print(f"{done}/{total} {outcome.job.name}", flush=True)  # noqa: E731 - one line
    outcomes = synthesize_many([job for _, job in todo], folder / library, 1, show)
    rows: dict[tuple[str, float], dict[str, Any]] = {}
    for (label, job), outcome in zip(todo, outcomes, strict=True):
        start = {"unit": label, "clock_ps": job.clock_ps, "area_um2": [], "delay_ps": []}
        row = rows.setdefault((label, job.clock_ps), start)
        if outcome.synthesis and outcome.synthesis.delay_ps:
            row["area_um2"].append(round(outcome.synthesis.area_um2, 3))
            row["delay_ps"].append(outcome.synthesis.delay_ps)
    return list(rows.values())


def spread(values: list[float]) -> tuple[float, float]:
    """(standard deviation, largest distance) from the median, relative."""
    each = np.array(values) / np.median(values) - 1
    return float(each.std()), float(np.abs(each).max())


def text(found: dict[str, list[dict[str, Any]]]) -> str:
    lines = [
        "# Scatter of synthesis",
        "",
        "Written by `python reports/validation/scatter.py`: every unit synthesised in ten orders of its statements and",
        "names of its nets, for one of the two clocks of the calibration. The same function and the same script: what",
        "differs is how yosys and ABC decide ties. No model of a unit can tell better than this.",
    ]
    for library, rows in found.items():
        spreads = [(*spread(row["area_um2"]), *spread(row["delay_ps"])) for row in rows]
        away = {
            what: np.abs(np.concatenate([np.array(row[what]) / np.median(row[what]) - 1 for row in rows]))
            for what in ("area_um2", "delay_ps")
        }
        rows_text = [
            [row["unit"], f"{row['clock_ps']:g}", *(f"{100 * each:.1f} %" for each in one)]
            for row, one in zip(rows, spreads, strict=True)
        ]
        totals = [
            f"{name}: median {100 * np.median(each):.1f} %, 90th percentile {100 * np.quantile(each, 0.9):.1f} %, "
            f"worst {100 * each.max():.1f} %"
            for name, each in (("area", away["area_um2"]), ("delay", away["delay_ps"]))
        ]
        seen = load_model(MODELS[library]).errors
        told = [
            f"{what}: median {100 * own['median']:.1f} %, 90th percentile {100 * own['p90']:.1f} %, "
            f"worst {100 * own['worst']:.1f} %"
            for what, own in ((what, seen[what]["left_out_units"]) for what in ("area", "delay"))
        ]
        header = ["unit", "clock ps", "area: deviation", "largest", "delay: deviation", "largest"]
        lines += ["", f"## {library}", "", "Distance of one synthesis from the median of its ten:", ""]
        lines += [*(f"- {total}" for total in totals)]
        lines += [
            "",
            "The model, on units that its fit has not seen:",
            "",
            *(f"- {one}" for one in told),
            "",
            table(header, rows_text),
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--liberty", nargs="+", required=True)
    arguments = parser.parse_args()
    library, *files = arguments.liberty
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept = HERE / "scatter.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    found[library] = measured(library, arguments.out, [Path(file) for file in files])
    kept.write_text(json.dumps(found, indent=1) + "\n")
    kept.with_suffix(".md").write_text(text(found), encoding="utf-8")
    print(text(found))


if __name__ == "__main__":
    main()
