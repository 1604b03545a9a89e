"""Every unit of the calibration grid in both simulators against its software twin, written to bit_exact.{json,md}.

    python reports/validation/bit_exact.py -o DIR [--processes 2] [--limit MINUTES] [--pairs N] \
        [--calibration DIR --liberty FILE...]

Takes hours, or half an hour with --pairs 1000, which takes so many pairs of codes of each mode. DIR keeps a line for
every unit that is done, and a second call goes on from there. All pairs of codes of at most 8 bits each, a million
random ones beyond, corners, sums of 1,000 steps and more, all scale corners
(`codesign.hardware.rtl.verify.vectors.verification`). The report says how many units of the grid it covers. With the
folder of a calibration and its library, a sample of the synthesised netlists runs the same bench, its cells as
their library describes them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import chain, islice
from pathlib import Path
from typing import Any

from codesign.formats import FormatPair
from codesign.hardware.calibration import read_liberty, verilog_models
from codesign.hardware.rtl import Unit, build
from codesign.hardware.rtl.verify.bench import Check
from codesign.hardware.rtl.verify.simulate import SIMULATORS, simulate
from codesign.hardware.rtl.verify.vectors import EXHAUSTIVE_BITS, verification
from codesign.hardware.units.coefficients import DATA

HERE = Path(__file__).parent
LIBRARIES = ("asap7", "sg13g2", "osu018")
NETLIST_PAIRS = 2000
BATCH = 6  # units of one bench where few pairs of codes are run: a simulator takes longer to build than to run


def units(libraries: Sequence[str] = LIBRARIES) -> dict[str, Unit]:
    """Every distinct unit, cuts included, that was synthesised with any of the libraries: each as cut for the slower
    clock first, narrow operands before wide ones."""
    found: dict[str, tuple[bool, bool, Unit]] = {}
    for library in libraries:
        rows = json.loads((DATA / f"mac_units_{library}.json").read_text())
        slowest = max(row["clock_ps"] for row in rows)
        for row in rows:
            pairs = tuple(FormatPair.parse(text) for text in row["pairs"])
            unit = Unit(pairs, row["accumulator"], row["lanes"], frozenset(row["cuts"]), tuple(row["rates"]))
            found.setdefault(unit.name, (library != libraries[0] or row["clock_ps"] != slowest, _wide(unit), unit))
    return {name: row[2] for name, row in sorted(found.items(), key=lambda item: item[1][:2])}


def _wide(unit: Unit) -> bool:
    return any(mode.weight.bits + mode.activation.bits > EXHAUSTIVE_BITS for mode in unit.modes)


def identity(unit: Unit) -> str:
    """Changes with the unit's Verilog."""
    return hashlib.sha256(build(unit, "unit").text.encode()).hexdigest()[:16]


def verify(units: Sequence[Unit], pairs: int | None = None) -> list[dict[str, Any]]:
    """A row a unit, all of them in one bench; pairs: limit on the pairs of codes."""
    names = [f"unit_{place}" for place in range(len(units))]
    built = [build(unit, name) for unit, name in zip(units, names, strict=True)]
    checks = [
        [Check(each, name, verification(each.unit, mode, pairs=pairs)) for mode in range(len(each.unit.modes))]
        for name, each in zip(names, built, strict=True)
    ]
    rows: list[dict[str, Any]] = [
        {
            "unit": unit.name,
            "verilog": identity(unit),
            "pairs": pairs,
            "steps": [check.vectors.steps for check in of_unit],
        }
        for unit, of_unit in zip(units, checks, strict=True)
    ]
    sources = {f"{name}.v": each.text for name, each in zip(names, built, strict=True)}
    for simulator in SIMULATORS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="bit_exact") as folder:
            verdicts = iter(simulate(simulator, [*chain(*checks)], sources, Path(folder), limit_s=7200))
        seconds = round((time.monotonic() - started) / len(units), 1)
        for row, of_unit in zip(rows, checks, strict=True):
            row |= {simulator: [next(verdicts).wrong for _ in of_unit], f"{simulator}_s": seconds}
    return rows


def verify_netlist(unit: Unit, netlist: str, liberty: list[Path]) -> dict[str, Any]:
    """Fewer vectors than of the source: gates take a hundred times as long."""
    built = build(unit, "unit")
    checks = [Check(built, "unit", verification(unit, mode, pairs=NETLIST_PAIRS)) for mode in range(len(unit.modes))]
    library = read_liberty(*liberty)
    used = [name for name in library.cells if re.search(rf"^  \\?{re.escape(name)} ", netlist, re.MULTILINE)]
    sources = {"netlist.v": netlist, "cells.v": verilog_models(library, used)}
    row: dict[str, Any] = {"unit": unit.name, "steps": [check.vectors.steps for check in checks], "cells": len(used)}
    for simulator in SIMULATORS:
        with tempfile.TemporaryDirectory(prefix="bit_exact") as folder:
            verdicts = simulate(simulator, checks, sources, Path(folder), limit_s=7200)
        row[simulator] = [verdict.wrong for verdict in verdicts]
    return row


def netlists(folder: Path, liberty: list[Path]) -> list[dict[str, Any]]:
    """Every twelfth unit of at most eight lanes."""
    found = {}
    for line in (folder / "results.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("synthesis"):
            found[row["name"].rsplit("_", 1)[0]] = folder / row["synthesis"]["netlist_verilog"]
    small = [unit for unit in units().values() if unit.lanes <= 8 and unit.name in found]
    return [verify_netlist(unit, found[unit.name].read_text(), liberty) for unit in small[::12]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=float, default=1e9, metavar="MINUTES", help="begin no unit after so long")
    parser.add_argument("--pairs", type=int, metavar="N", help="pairs of codes of each mode (default: all)")
    parser.add_argument("--calibration", type=Path, help="folder that codesign calibrate wrote")
    parser.add_argument("--liberty", type=Path, nargs="+", default=[], help="the library of that calibration")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    log = arguments.out / "units.jsonl"
    done = {row["verilog"]: row for row in map(json.loads, log.read_text().splitlines() if log.exists() else [])}
    wanted = {identity(unit): unit for unit in units().values()}
    missing = [unit for key, unit in wanted.items() if key not in done]
    started = time.monotonic()
    with ProcessPoolExecutor(arguments.processes) as pool, log.open("a") as file:
        size = BATCH if arguments.pairs else 1
        waiting = iter([missing[i : i + size] for i in range(0, len(missing), size)])
        running = {pool.submit(verify, batch, arguments.pairs) for batch in islice(waiting, arguments.processes)}
        while running:
            future = next(as_completed(running))
            running.discard(future)
            for row in future.result():
                done[row["verilog"]] = row
                file.write(json.dumps(row) + "\n")
                print(f"{len(done)}/{len(wanted)} {row['unit']} {row['iverilog']} {row['verilator']}", flush=True)
            file.flush()
            if time.monotonic() - started < 60 * arguments.limit and (batch := next(waiting, None)) is not None:
                running.add(pool.submit(verify, batch, arguments.pairs))
    gates = arguments.out / "netlists.json"
    if arguments.calibration:
        gates.write_text(json.dumps(netlists(arguments.calibration, arguments.liberty), indent=0))
    report(
        [done[key] for key in wanted if key in done],
        [unit.name for key, unit in wanted.items() if key not in done],
        json.loads(gates.read_text()) if gates.exists() else [],
    )


def report(rows: list[dict[str, Any]], missing: list[str], gates: list[dict[str, Any]]) -> None:
    versions = {}
    for simulator, command in (("iverilog", ["iverilog", "-V"]), ("verilator", ["verilator", "--version"])):
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        versions[simulator] = lines[0].split(" (")[0] if lines else "missing"
    wrong = {name: sum(sum(row[name]) for row in rows) for name in SIMULATORS}
    result = {
        "simulators": versions,
        "units": len(rows),
        "mismatches": wrong,
        "missing": missing,
        "netlists": gates,
        "rows": rows,
    }
    (HERE / "bit_exact.json").write_text(json.dumps(result | {"rows": rows}, indent=0) + "\n")
    steps = sum(sum(row["steps"]) for row in rows)
    limited = [row["pairs"] for row in rows if row["pairs"]]
    few = (
        f"Of {len(limited)} units, {min(limited):,} to {max(limited):,} random pairs of codes, not all. "
        if limited
        else ""
    )
    lines = [
        "# Compute units in two simulators against their software twin",
        "",
        "Written by `python reports/validation/bit_exact.py -o DIR`; one row a unit in bit_exact.json.",
        "",
        f"{len(rows)} of {len(rows) + len(missing)} distinct units of the calibration grids of {', '.join(LIBRARIES)}:",
        f"{sum(len(row['steps']) for row in rows)} modes, {steps:,} steps. {few}Corners, sums of",
        "1,000 steps and all corners of the scales are part of them.",
        "",
        "| simulator | mismatches | hours |",
        "|---|---|---|",
    ]
    for name in SIMULATORS:
        hours = sum(row[f"{name}_s"] for row in rows) / 3600
        lines.append(f"| {versions[name]} | {wrong[name]} | {hours:.1f} |")
    if gates:
        wrong_gates = {name: sum(sum(row[name]) for row in gates) for name in SIMULATORS}
        lines += [
            "",
            f"Synthesised netlists of {len(gates)} of them, {sum(sum(row['steps']) for row in gates):,} steps: "
            + ", ".join(f"{wrong_gates[name]} mismatches in {name}" for name in SIMULATORS)
            + ".",
        ]
    if missing:
        lines += ["", "Not run yet: " + ", ".join(missing) + "."]
    (HERE / "bit_exact.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
