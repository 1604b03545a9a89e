"""Formats drawn from the grammar: bit for bit in two simulators, and their area against synthesis.

    python reports/validation/grammar.py exact -o DIR
    python reports/validation/grammar.py area -o DIR --liberty NAME FILE...

``exact``: 40 formats, each as a unit: all pairs of codes, corners, sums of 1,000 steps
(`codesign.hardware.rtl.verify.vectors.verification`) in both simulators against the twin; and all codes of elements
and scales, as the quantizer and as the twin read them. ``area``: 20 formats of another seed, none of which a model was
calibrated on, synthesised with the library of a shipped model (asap7 or sg13g2) for its slower clock. DIR keeps a line
for each unit; the report, grammar.json and grammar.md, is written from what DIR holds.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from bit_exact import SIMULATORS, identity, verify

from codesign.formats import FormatPair, IntElement, get_format
from codesign.formats.enumerated import drawn
from codesign.hardware.arithmetic.modes import Side
from codesign.hardware.calibration.liberty.library import write_merged
from codesign.hardware.calibration.synthesis.yosys import find_yosys, synthesize
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.verify.twin import decode_scale, decoded
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.unit_model import UnitModel, load_model
from codesign.report.markdown import table

HERE = Path(__file__).parent
EXACT_SEED, EXACT, AREA_SEED, AREA = 24, 40, 25, 20
LANES = (1, 4, 8, 16)
BATCH = 8  # units of one bench


def lanes_of(name: str, place: int, most: int) -> int:
    """Products per cycle: 1 to `most` in turn, as the block size allows."""
    scaling = get_format(name).scaling
    block = (scaling.block or 0) if scaling else 0
    lanes = [each for each in LANES if each <= most and not (block and block % each and each % block)]
    return lanes[place % len(lanes)]


def exact_units() -> list[Unit]:
    names = drawn(EXACT, EXACT_SEED, bits=(3, 8))
    return [Unit((FormatPair(name, name),), "auto", lanes_of(name, i, 4)) for i, name in enumerate(names)]


def area_units() -> list[Unit]:
    """None of a format of the calibrations' grids."""
    rows = [row for file in DATA.glob("mac_units_*.json") for row in json.loads(file.read_text())]
    known = {name for row in rows for pair in row["pairs"] for name in pair.split(":")}
    names = [name for name in drawn(AREA + len(known), AREA_SEED, bits=(3, 9)) if name not in known][:AREA]
    return [Unit((FormatPair(name, name),), "auto", lanes_of(name, i, 16)) for i, name in enumerate(names)]


def misread(name: str) -> int:
    """Codes of an element or its block scale that the quantizer and the twin read as different numbers."""
    form, side = get_format(name), Side.of(name)
    wrong = 0
    codes = form.element.codes()
    raw = codes.numpy() if isinstance(form.element, IntElement) else codes.numpy() & (1 << form.element.bits) - 1
    significands, exponents = decoded(raw, side)
    values = form.element.decode(codes).double().numpy()
    finite = np.isfinite(values)
    wrong += int((np.ldexp(significands.astype(float), exponents + side.exponent_offset) != values)[finite].sum())
    if side.scale is not None and side.scale.bits <= 16:
        codes = side.scale.codes()
        codes = codes[side.scale.decode(codes) > 0]  # scales are positive
        values = side.scale.decode(codes).double().numpy()
        significands, exponents = decode_scale(codes.numpy() & (1 << side.scale.bits) - 1, side.scale)
        finite = np.isfinite(values)
        wrong += int((np.ldexp(significands.astype(float), exponents + side.scale_offset) != values)[finite].sum())
    return wrong


def exact(folder: Path) -> None:
    log = folder / "exact.jsonl"
    done = {json.loads(line)["unit"] for line in log.read_text().splitlines()} if log.exists() else set()
    waiting = [unit for unit in exact_units() if unit.name not in done]
    for first in range(0, len(waiting), BATCH):
        batch = waiting[first : first + BATCH]
        for unit, row in zip(batch, verify(batch), strict=True):
            row |= {"misread": misread(unit.pairs[0].weight), "format": unit.pairs[0].weight, "lanes": unit.lanes}
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row["unit"], row["steps"], *(row[name] for name in SIMULATORS), row["misread"], flush=True)


def cut_units(library: str) -> list[tuple[Unit, UnitModel]]:
    """`area_units` as the library's model of today cuts them for its slower clock."""
    model = load_model(f"mac_model_{library}.yaml")
    return [(unit.cut(model.plan(unit, max(model.provenance.clocks_ps)).cuts), model) for unit in area_units()]


def area(folder: Path, library: str, liberty: list[Path]) -> None:
    log = folder / f"area_{library}.jsonl"
    done = {json.loads(line)["verilog"] for line in log.read_text().splitlines()} if log.exists() else set()
    tool, merged = find_yosys(None), folder / f"{library}.lib"
    assert tool is not None
    write_merged(liberty, merged)
    for unit, model in cut_units(library):
        if (key := identity(unit)) in done:
            continue
        clock = max(model.provenance.clocks_ps)
        found = synthesize(build(unit).text, "unit", merged, clock, 600, folder / f"{library}_{key}", tool)
        row = {"verilog": key, "clock_ps": clock, "area_um2": found.area_um2}
        with log.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(library, unit.name, f"{model.area(unit).value / found.area_um2 - 1:+.1%}", flush=True)


def modelled(library: str, synthesised: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The synthesised units of today's Verilog, beside what the model of today says."""
    by_key = {row["verilog"]: row for row in synthesised}
    return [
        {"unit": unit.name, "format": unit.pairs[0].weight, "lanes": unit.lanes}
        | by_key[key]
        | {"model_um2": model.area(unit).value}
        for unit, model in cut_units(library)
        if (key := identity(unit)) in by_key
    ]


def report(folder: Path) -> None:
    rows: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        rows[file.stem] = [json.loads(line) for line in file.read_text().splitlines()]
        if file.stem.startswith("area_"):
            rows[file.stem] = modelled(file.stem.removeprefix("area_"), rows[file.stem])
    lines = [
        "# Formats drawn from the grammar",
        "Written by `python reports/validation/grammar.py exact | area`; one row a unit in grammar.json. "
        f"Seeds {EXACT_SEED} and {AREA_SEED} of `codesign.formats.enumerated.drawn`.",
    ]
    if found := rows.get("exact"):
        wrong = ", ".join(f"{sum(sum(row[name]) for row in found)} in {name}" for name in SIMULATORS)
        lines += [
            "## Bit for bit",
            f"{len(found)} of {EXACT} formats, {sum(sum(row['steps']) for row in found):,} steps, all pairs of codes "
            f"among them. Mismatches with the twin: {wrong}. Codes that quantizer and twin read differently: "
            f"{sum(row['misread'] for row in found)}.",
            table(
                ["format", "products a step", "steps"],
                [[r["format"], str(r["lanes"]), str(r["steps"][0])] for r in found],
            ),
        ]
    libraries = [key.removeprefix("area_") for key in rows if key.startswith("area_")]
    if libraries:
        lines.append("## Area, model against synthesis")
        errors = {
            name: {r["format"]: r["model_um2"] / r["area_um2"] - 1 for r in rows[f"area_{name}"]} for name in libraries
        }
        for name, found_errors in errors.items():
            sizes = sorted(abs(error) for error in found_errors.values())
            p90 = sizes[math.ceil(0.9 * len(sizes)) - 1]
            lines.append(
                f"{name}: {len(sizes)} of {AREA} units; median {sizes[len(sizes) // 2]:.1%}, 90th percentile "
                f"{p90:.1%}, worst **{sizes[-1]:.1%}**."
            )
        units = {r["format"]: r for name in libraries for r in rows[f"area_{name}"]}
        cells = [
            [r["format"], str(r["lanes"]), *(f"{errors[n][u]:+.1%}" if u in errors[n] else "" for n in libraries)]
            for u, r in units.items()
        ]
        lines.append(table(["format", "products a step", *libraries], cells))
    (HERE / "grammar.json").write_text(json.dumps(rows, indent=0) + "\n")
    (HERE / "grammar.md").write_text("\n\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["exact", "area", "report"])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--liberty", nargs="+", metavar="NAME FILE", default=[], help="asap7 or sg13g2, and its files")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.what == "exact":
        exact(arguments.out)
    elif arguments.what == "area":
        area(arguments.out, arguments.liberty[0], [Path(file) for file in arguments.liberty[1:]])
    report(arguments.out)


if __name__ == "__main__":
    main()
