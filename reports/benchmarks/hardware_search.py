"""How fast hardware alone is searched, and in how much memory: hardware_search.json and hardware_search.md.

    python reports/benchmarks/hardware_search.py [--out DIR]

The command is `codesign search search_spaces/sd15_hardware.yaml`: the whole U-Net of Stable Diffusion 1.5 on every
accelerator of the file. It runs as a process of one thread for the file as it is, for a ninth of its accelerators and
for eight times as many: what grows with the grid shows. Pricing is what `run_sweep` takes, tables and fronts included,
without the start, the network's trace and the report. Other work on the machine slows seconds, CPU seconds hardly.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from codesign.search import load_space, run_sweep

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "search_spaces" / "sd15_hardware.yaml"
LEAST_PER_SECOND = 50_000  # designs of the whole network, on one core
CLOCKS, LANES = "clock_mhz: [600, 800, 1000]", "vector_lanes: [0, 32, 128]"
SIZES = {
    "a ninth": {CLOCKS: "clock_mhz: [1000]", LANES: "vector_lanes: [0]"},
    "as it is": {},
    "eightfold": {CLOCKS: f"clock_mhz: {list(range(520, 1000, 20))}"},
}


def space_of(changes: dict[str, str], folder: Path) -> Path:
    """The file with some lines changed."""
    text = SPACE.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "space.yaml"
    path.write_text(text)
    return path


def command(space: Path, folder: Path) -> dict[str, Any]:
    """One run of the whole command: seconds, CPU seconds and the most memory of its process."""
    call = [sys.executable, "-m", "codesign", "search", str(space), "--out", str(folder), "--json"]
    started = time.perf_counter()
    process = subprocess.Popen(call, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(call)}: exit status {status}")
    details = json.loads((folder / "details.json").read_text())
    front = json.loads((folder / "front.json").read_text())
    return {
        "accelerators": details["hardware_count"],
        "designs_priced": details["designs_priced"],
        "front_size": front["front_size"],
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "pricing_seconds": round(details["timings"]["pricing"], 1),
        "peak_memory_mib": round(usage.ru_maxrss / 1024),
    }


def one_core(folder: Path) -> dict[str, Any]:
    """The pricing of the file as it is, in this process: designs a second, and a CPU second."""
    space = load_space(SPACE)
    started, cpu = time.perf_counter(), time.process_time()
    found = run_sweep(space, folder)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    return {
        "layers": len(next(iter(space.workloads.values())).layers),
        "designs_priced": found.priced,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "designs_per_second": round(found.priced / seconds),
        "designs_per_cpu_second": round(found.priced / cpu_seconds),
        "limit": LEAST_PER_SECOND,
        "within": found.priced / seconds >= LEAST_PER_SECOND,
    }


def text(result: dict[str, Any]) -> str:
    machine, core = result["machine"], result["one_core"]
    written = f"Written by `python reports/benchmarks/hardware_search.py`; Python {machine['python']}"
    lines = [
        "# Searching hardware alone",
        "",
        f"{written}, NumPy {machine['numpy']}, {machine['cores']} cores that others used as well "
        f"({machine['load']:.1f} processes waiting for them on average).",
        "",
        f"`run_sweep` in one thread: {core['designs_priced']:,} (accelerator, assignment) designs, each of all "
        f"{core['layers']} layers of the U-Net, in {core['seconds']} s ({core['cpu_seconds']} CPU seconds), tables and "
        f"fronts included: {core['designs_per_second']:,} a second, {core['designs_per_cpu_second']:,} a CPU second "
        f"(at least {core['limit']:,} a second wanted: {'met' if core['within'] else 'MISSED'}).",
        "",
        "`codesign search search_spaces/sd15_hardware.yaml`, whole processes:",
        "",
        "| space | accelerators | designs on the front | seconds | CPU seconds | pricing, seconds | peak memory MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in result["commands"].items():
        lines.append(
            f"| {name} | {run['accelerators']:,} | {run['front_size']:,} | {run['seconds']} | {run['cpu_seconds']} "
            f"| {run['pricing_seconds']} | {run['peak_memory_mib']:,} |"
        )
    lines += ["", f"Bytes an accelerator, from the second row to the third: {result['bytes_per_accelerator']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    commands = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core = one_core(folder / "core")
        for size, changes in SIZES.items():
            commands[size] = command(space_of(changes, folder), folder / size.replace(" ", "_"))
    small, large = commands["as it is"], commands["eightfold"]
    more_bytes = (large["peak_memory_mib"] - small["peak_memory_mib"]) * 2**20
    result = {
        "machine": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[1], 1),
        },
        "one_core": core,
        "commands": commands,
        "bytes_per_accelerator": round(more_bytes / (large["accelerators"] - small["accelerators"])),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "hardware_search.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "hardware_search.md").write_text(text(result))
    print(text(result))


if __name__ == "__main__":
    main()
