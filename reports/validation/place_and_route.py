"""Three small arrays placed and routed with Debian's qflow in its OSU 180 nm library: what wires and a clock tree add.

    python reports/validation/place_and_route.py [--folder DIR] [--limit 600]

Needs the Debian packages qflow, qflow-tech-osu018, graywolf and qrouter. Writes place_and_route.json and .md. For each
array of 2 x 2 units: qflow synthesizes it (and buffers nets of high fan-out, the clock among them), places it with
graywolf, routes it with qrouter and extracts wires; vesta gives the longest path before and after. Runs that exceed the
limit are reported as such.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from codesign.formats import FormatPair
from codesign.hardware.calibration.liberty.library import Library, read_liberty
from codesign.hardware.rtl import Unit
from codesign.hardware.rtl.emit.array import array

HERE = Path(__file__).parent
LIBERTY = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
ARRAYS = (("int2", "int16"), ("int3", "int16"), ("int4", "int24"))
STEPS = ("synthesize", "place", "sta", "route", "backanno")
DEF_UNITS = 100  # per micron
_INSTANCE = re.compile(r"^(\w+) (\S+) \( (.*) \);$", re.M)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path)
    options.add_argument("--limit", type=float, default=600.0, help="seconds for one array")
    given = options.parse_args()
    library = read_liberty(LIBERTY)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for pair, accumulator in ARRAYS:
            folder = (given.folder or Path(temporary)) / pair
            problem = run(pair, accumulator, folder, given.limit)
            found = {"array": f"2 x 2, {pair}, {accumulator}", "problem": problem}
            rows.append(found if problem else found | measured(folder, library))
            print(rows[-1], flush=True)
    (HERE / "place_and_route.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    (HERE / "place_and_route.md").write_text(markdown(rows))


def run(pair: str, accumulator: str, folder: Path, limit_s: float) -> str:
    """Place and route one array; what went wrong, or nothing. A folder that is finished is not run again."""
    if (folder / "log" / "post_sta.log").is_file():
        return ""
    for name in ("source", "synthesis", "layout", "log"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    made = array(Unit((FormatPair.parse(pair),), accumulator, 1), 2, 2)
    (folder / "source" / "array.v").write_text(f"{made.text}\n{made.built.text}")
    try:
        done = subprocess.run(
            ["qflow", *STEPS, "-T", "osu018", "array"], cwd=folder, capture_output=True, text=True, timeout=limit_s
        )
    except FileNotFoundError:
        return "qflow is not installed"
    except subprocess.TimeoutExpired:
        return f"not finished in {limit_s:g} s: the last log is {latest(folder)}"
    if not (folder / "log" / "post_sta.log").is_file():
        return f"stopped at {latest(folder)}: {(done.stdout + done.stderr).strip()[-200:]}"
    return ""


def latest(folder: Path) -> str:
    logs = sorted((folder / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
    return logs[-1].name if logs else "none"


def measured(folder: Path, library: Library) -> dict[str, Any]:
    """Areas in um2, longest paths in ps and capacitances in fF of a routed array."""
    netlist = (folder / "synthesis" / "array.rtlnopwr.v").read_text()
    cells = [(kind, pins) for kind, _, pins in _INSTANCE.findall(netlist) if kind in library.cells]
    clock = [kind for kind, _ in cells if kind.startswith("CLKBUF")]
    low_x, low_y, high_x, high_y = map(int, re.findall(r"-?\d+", read(folder, "layout/array.def", r"DIEAREA .*")))
    wires = {name: float(c) for name, c in re.findall(r"^\*D_NET (\S+) (\S+)", spef(folder), re.M)}
    pins: dict[str, float] = {}
    for kind, text in cells:
        for pin, net in re.findall(r"\.(\w+)\(([^)]*)\)", text):
            if pin in library.cells[kind].inputs_ff:
                key = net.strip().strip("\\").strip()
                pins[key] = pins.get(key, 0.0) + library.cells[kind].inputs_ff[pin]
    before, after = (longest(folder / "log" / name) for name in ("sta.log", "post_sta.log"))
    routed = (folder / "log" / "route.log").read_text()
    cell_area = sum(library.cells[kind].area_um2 for kind, _ in cells)
    return {
        "cells": len(cells),
        "clock_buffers": len(clock),
        "clock_buffer_um2": sum(library.cells[kind].area_um2 for kind in clock),
        "cell_um2": cell_area,
        "die_um2": (high_x - low_x) * (high_y - low_y) / DEF_UNITS**2,
        "path_ps": before,
        "routed_path_ps": after,
        "pin_ff": sum(pins.values()),
        # the header of qflow's SPEF says fF, its numbers are pF: 0.009 on a net of about 40 um
        "wire_ff": sum(wires.values()) * 1e3,
        "failed_nets": 0 if "Final: No failed routes!" in routed else None,
    }


def read(folder: Path, name: str, pattern: str) -> str:
    found = re.search(pattern, (folder / name).read_text())
    assert found is not None, (name, pattern)
    return found.group(0)


def spef(folder: Path) -> str:
    return (folder / "synthesis" / "array.spef").read_text()


def longest(log: Path) -> float:
    return max(float(delay) for delay in re.findall(r"^Path .* delay (\S+) ps", log.read_text(), re.M))


def markdown(rows: list[dict[str, Any]]) -> str:
    done = [row for row in rows if not row["problem"]]
    lines = [
        "# Wires and a clock tree, placed and routed",
        "",
        "Written by `python reports/validation/place_and_route.py`: arrays of 2 x 2 units, one product a cycle,",
        "not pipelined, in the OSU 180 nm library, by Debian's qflow 1.3 (yosys, graywolf, qrouter, vesta).",
        "",
        "| array | cells | clock buffers | cell area, um2 | die / cell area | longest path, ns | routed / not | "
        "wire / pin capacitance |",
        "|" + "---|" * 8,
    ]
    for row in rows:
        if row["problem"]:
            lines.append(f"| {row['array']} | {row['problem']} |" + " |" * 6)
            continue
        share = row["clock_buffer_um2"] / row["cell_um2"]
        lines.append(
            f"| {row['array']} | {row['cells']} | {row['clock_buffers']} ({share:.1%} of the area) "
            f"| {row['cell_um2']:,.0f} | {row['die_um2'] / row['cell_um2']:.2f} | {row['path_ps'] / 1e3:.2f} "
            f"| {row['routed_path_ps'] / row['path_ps']:.3f} | {row['wire_ff'] / row['pin_ff']:.2f} |"
        )
    if done:
        area, delay, load = (
            sorted(row[a] / row[b] for row in done)
            for a, b in (("die_um2", "cell_um2"), ("routed_path_ps", "path_ps"), ("wire_ff", "pin_ff"))
        )
        lines += [
            "",
            f"Over {len(done)} of {len(rows)} arrays: die over cell area {area[0]:.2f} to {area[-1]:.2f} (placement in "
            f"system.yaml, 0.65 to 0.85, says 1.18 to 1.54); the longest path grows by {100 * (delay[0] - 1):.1f} to "
            f"{100 * (delay[-1] - 1):.1f} %; wires add {load[0]:.2f} to {load[-1]:.2f} of the capacitance of the pins "
            "to what switches.",
        ]
    return "\n".join([*lines, "", *NOTES, ""])


NOTES = (
    "What this does not say. The clock tree is qflow's: buffers by fan-out before placement, not balanced afterwards.",
    "An array of 4 units has no long wires, and in 180 nm wires weigh less against gates than in 7 nm, so that these",
    "factors are lower ends for the chips of this package, whose data keep their assumptions (`system.yaml`).",
    "",
    "What was tried besides. OpenROAD: PyPI's `openroad` has no files; `librelane` and `openlane` (PyPI) call an",
    "OpenROAD that they get from Nix or Docker, whose registries are not reachable from here; Debian has none.",
    "`coriolis-eda` (PyPI) was downloaded and not tried. graywolf had not placed 2 x 2 INT8 units with int32, nor FP8",
    "units with fp32, after five minutes of a machine that others used too.",
)


if __name__ == "__main__":
    main()
