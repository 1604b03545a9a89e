"""How fast units are priced: one by `codesign mac`, a million by `mac_costs`; written to mac.json and mac.md.

    python reports/benchmarks/mac.py [--repeats 7] [--out DIR]

`codesign mac` is a whole process, against a process that only starts Python. The million: every datapath of
the list at random nodes and clocks; the first call analyses the Verilog of each datapath for every way that the
clocks cut it, the others find that done.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.units.mac_costs import mac_costs

COUNT = 1_000_000
NODES = (3, 4, 5, 7, 16, 28, 45, 130)
CLOCKS_GHZ = (0.2, 1.5)
PAIRS = (("int8", "int32"), ("int4", "int24"), ("fp8_e4m3", "fp32"), ("mxfp4", "fp32"))
DOTS = (1, 4, 8, 16, 32)
COMMAND = ["mac", "int8", "int8", "--dot", "16", "--node", "7", "--json"]


def process_s(arguments: Sequence[str], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return median(times)


def million() -> dict[str, Any]:
    units = [MacUnit((FormatPair.parse(pair),), sums, dot) for pair, sums in PAIRS for dot in DOTS]
    rng = np.random.default_rng(0)
    unit = rng.integers(0, len(units), COUNT)
    node = rng.choice(np.array(NODES, dtype=np.float64), COUNT)
    clock = rng.uniform(*CLOCKS_GHZ, COUNT)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        mac_costs(units, unit, node, clock)
        times.append(time.perf_counter() - started)
    return {"datapaths": len(units), "first_s": round(times[0], 2), "later_s": round(median(times[1:]), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    result = {
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "numpy": np.__version__},
        "codesign_mac_s": round(process_s(["-m", "codesign", *COMMAND], options.repeats), 2),
        "python_start_s": round(process_s(["-c", "pass"], options.repeats), 3),
        "evaluations": COUNT,
        "million": million(),
    }
    (options.out / "mac.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "mac.md").write_text(text(result))
    print(text(result))


def text(result: dict[str, Any]) -> str:
    found, machine = result["million"], result["machine"]
    versions = f"Python {machine['python']}, NumPy {machine['numpy']}, {machine['cores']} cores"
    many = f"{COUNT:,} units of {found['datapaths']} datapaths over {len(NODES)} nodes and random clocks"
    return f"""\
# Pricing compute units

Written by `python reports/benchmarks/mac.py`; {versions}.

| what | seconds |
|---|---|
| `codesign {" ".join(COMMAND)}`, whole process | {result["codesign_mac_s"]} |
| a process that only starts Python | {result["python_start_s"]} |
| {many}, first call | {found["first_s"]} |
| the same again | {found["later_s"]} |
"""


if __name__ == "__main__":
    main()
