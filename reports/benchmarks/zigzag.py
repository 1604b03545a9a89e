"""Our schedule beside ZigZag's mapping search on one architecture: latency, DRAM traffic, time. zigzag.json, zigzag.md.

    python reports/benchmarks/zigzag.py [--zigzag-python PYTHON] [--iterations 1000] [--repeats 9] [--out DIR]
                                        [--answers FILE] [--processes 1]

--zigzag-python: of an environment with zigzag-dse and six; without it a temporary one is made with pip.

The architecture is written down once more for ZigZag, from the same figures: an array of dot-product units with its
registers, SRAM ports as wide as our schedule's, DRAM with our sustained bandwidth. The clock is chosen so that DRAM
moves a whole number of bits a cycle, which ZigZag asks for. The units may take rows of the product over the rows of
the array (output-stationary) or more of the sum (weight-stationary), as in our schedule. ZigZag searches every order
of at most six loops (its default) and anneals the order of all prime factors, for latency and for DRAM bytes; its best
is the best mapping of all of these.

Our fixed shares of the SRAM: inputs that spill are cut into tiles in half of the activations' share; weights and sums
in the tiles' share, operands held twice so that the next tile arrives while one is in use. `equal` gives ZigZag
memories of these sizes and the same double buffering. Two more set-ups show what our rules cost: in `weights once` it
may stop the array to change a tile of weights, and `one memory` gives it the whole SRAM for this one layer, where ours
keeps a quarter of it for other layers' weights and waiting results. A layer by itself reads its input from DRAM and
writes its output there; our schedule leaves tensors that fit on the chip, so those are added to its traffic, once.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from zigzag_search.layers import COLUMNS, DOT, LAYERS, ROWS, Layer, operator
from zigzag_search.page import LPF_LIMIT, markdown, total

from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.hardware import Accelerator, AcceleratorGrid, cost, cost_tables
from codesign.hardware.schedule.footprint import Footprint, tensor_elements
from codesign.hardware.schedule.machine import Machine
from codesign.hardware.schedule.tiling import ORDERS, Sizes, Tiling, best_tiling
from codesign.hardware.schedule.traffic import partial_sum_bytes
from codesign.workload.types import Operator, Workload

ZIGZAG = "zigzag-dse==3.9.1"
WORKER = Path(__file__).parent / "zigzag_search" / "worker.py"
PAIR = FormatPair.parse("int8")
DRAM, CHANNELS, NODE_NM = "lpddr5x_8533", 4, 7.0
DRAM_BITS = 512  # a cycle
NETWORK = Footprint(weights=10**12, cache=0, live=10**12, reserved_bytes=0)  # leaves no share to keep one layer in
SIZES_KIB = (512, 1024, 2048)
SETUPS = tuple((setup, kib) for setup in ("equal", "weights once", "one memory") for kib in SIZES_KIB)
FILES = ("accelerator", "workload", "mapping")  # of a task
DIMENSIONS = ["D1", "D2", "D3"]  # rows, columns, dot


# Our side.


def accelerator(sram_bytes: int, clock_hz: float) -> Accelerator:
    return Accelerator("equal", (PAIR,), "int32", DOT, ROWS, COLUMNS, sram_bytes, DRAM, CHANNELS, clock_hz, NODE_NM)


def machine(chip: Accelerator) -> Machine:
    zero = np.zeros(1, dtype=np.int64)
    return Machine(AcceleratorGrid.of([chip]), (PAIR,), NETWORK, zero, zero)


def clock_hz() -> float:
    """At which DRAM moves DRAM_BITS a cycle."""
    return float(machine(accelerator(2**20, 1e9)).dram_bytes_per_s[0] / (DRAM_BITS / 8))


def tiling(op: Operator, on: Machine) -> Tiling:
    """The tiles that the schedule found, which it does not show."""
    kinds = on.kinds(op)
    inputs, outputs = tensor_elements(op)
    fits = kinds.activation_half
    read = np.where(inputs * kinds.input_bytes > fits, inputs * kinds.input_bytes, 0.0) / (op.m * op.k)
    written = np.where(outputs * kinds.output_bytes > fits, outputs * kinds.output_bytes, 0.0) / (op.m * op.n)
    return best_tiling(
        op.m,
        op.n,
        op.k,
        Sizes(
            input=read,
            weight=kinds.weight_bytes,
            output=written,
            input_tile=read,
            weight_tile=kinds.weight_bytes,
            partial=np.full_like(fits, partial_sum_bytes()),
            input_room=fits,
            room=kinds.tile,
        ),
    )


def ours(layer: Layer, chip: Accelerator) -> dict[str, Any]:
    """Cycles and DRAM bytes of the layer by itself."""
    op, on = layer.operator, machine(chip)
    result, found = on.run(op, 1), tiling(layer.operator, on)
    moved = float(result.dram_bytes[0])
    parts = [float(part[0]) for part in (found.input_bytes, found.weight_bytes, found.output_bytes)]
    assert math.isclose(sum(parts), moved, rel_tol=1e-6), "the schedule has other tiles than this benchmark thinks"
    kept = [size if size <= on.kinds(op).activation_half[0] else 0 for size in tensor_elements(op)]
    by_operand = {"I": parts[0] + kept[0], "W": parts[1], "O": parts[2] + kept[1]}
    seconds = max(
        *(float(part[0]) for part in (result.compute_s, result.sram_s)),
        sum(by_operand.values()) / float(on.dram_bytes_per_s[0]),
    )
    cycles = seconds * chip.clock_hz
    return {
        "cycles": round(cycles),
        "dram_bytes": {operand: round(value) for operand, value in by_operand.items()},
        "utilisation": op.macs / (cycles * ROWS * COLUMNS * DOT),
        "order": ORDERS[found.order[0]],
        "tiles": [int(size) for size in found.tiles[0]],
        "with_halo": round(total({"dram_bytes": by_operand}) + parts[0] * (halo(layer, found) - 1)),
    }


def our_seconds(layer: Layer, clock: float, repeats: int) -> dict[str, float]:
    """Of a layer on an accelerator: in a grid, and by itself. No two rounds share a size of SRAM, so none is cached."""
    workload = Workload("layer", (layer.operator,))
    assignment = Assignment.of({"layer": LayerFormats.of_pair(PAIR, attention=False)})
    many, one = [], []
    for turn in range(repeats + 1):
        sizes = [2**18 + 2**15 * step + 64 * turn for step in range(64)]
        grid = AcceleratorGrid.from_ranges(
            pair_sets=[(PAIR,)],
            rows=(8, 16, 32),
            columns=(8, 16, 32),
            sram_bytes=sizes,
            dot=(DOT,),
            dram=(DRAM,),
            dram_channels=(1, 2, 4),
            clock_hz=(clock,),
            node_nm=[NODE_NM],
        )
        started = time.perf_counter()
        cost_tables(workload, grid, (PAIR,))
        many.append((time.perf_counter() - started) / len(grid))
        chip = accelerator(2**19 + 64 * turn + 32, clock)
        started = time.perf_counter()
        cost(workload, chip, assignment)
        one.append(time.perf_counter() - started)
    return {"grid": len(grid), "in_grid_s": median(many[1:]), "single_s": median(one[1:])}


def halo(layer: Layer, found: Tiling) -> float:
    """How much more of a convolution's input is read with the rows around each tile, which our schedule leaves out.

    In a weight-stationary tiling, tile follows tile along the image, and those rows are still there.
    """
    loops = dict(zip(layer.zigzag["loop_dims"], layer.zigzag["loop_sizes"], strict=True))
    pixels = int(found.tiles[0][0])
    if "FY" not in loops or ORDERS[found.order[0]] == "weight-stationary" or pixels >= layer.operator.m:
        return 1.0
    rows = pixels / loops["OX"]
    return float((rows + loops["FY"] - 1) / rows)


# ZigZag's side.


def port(name: str, bits: int, *moves: str) -> dict[str, Any]:
    kind = {"r": "read", "w": "write", "rw": "read_write"}[name.split("_")[0]]
    return {"name": name, "type": kind, "bandwidth_min": 8, "bandwidth_max": bits, "allocation": list(moves)}


def memory(bits: float, operands: Sequence[str], ports: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """SRAM or registers; energy is counted in DRAM only, so that the least energy is the least traffic."""
    free = {"r_cost": 0.0, "w_cost": 0.0, "area": 0.0, "latency": 1, "served_dimensions": DIMENSIONS}
    return {"size": int(bits), "operands": list(operands), "ports": list(ports)} | free | more


def registers(sum_bits: int) -> dict[str, Any]:
    """Two weights a lane and two sums a unit: one at work, one under way."""
    weights = (port("r_port_1", 8, "I2, tl"), port("w_port_1", 8, "I2, fh"))
    sums = [port(f"r_port_{i}", sum_bits, f"O, {move}") for i, move in enumerate(("tl", "th"), 1)]
    sums += [port(f"w_port_{i}", sum_bits, f"O, {move}") for i, move in enumerate(("fl", "fh"), 1)]
    return {
        "weight_registers": memory(16, ["I2"], weights, served_dimensions=[]),
        "sum_registers": memory(2 * sum_bits, ["O"], sums, served_dimensions=["D3"]),
    }


def srams(setup: str, chip: Accelerator, sum_bits: int) -> dict[str, Any]:
    """The SRAM of a set-up; its ports: operands of every row and column and a sum a column each cycle, and DRAM."""
    inputs = port("r_port_1", ROWS * DOT * 8, "I1, tl")
    weights = port("r_port_2", COLUMNS * DOT * 8, "I2, tl")
    sums = port("rw_port_1", COLUMNS * sum_bits, "O, tl", "O, fl")
    load, both = "I1, fh", ("I2, fh", "O, fh", "O, th")
    if setup == "one memory":
        ports = (inputs, weights, sums, port("rw_port_2", DRAM_BITS, load, *both))
        return {"sram": memory(chip.sram_bytes * 8, ["I1", "I2", "O"], ports)}
    kinds = machine(chip).kinds(operator("linear", 1, 1, 1, (1, 1, 1)))  # the shares are those of any operator
    half, room = float(kinds.activation_half[0]), float(kinds.tile[0])
    twice = memory(half * 8, ["I1"], (inputs, port("w_port_1", DRAM_BITS, load)), force_double_buffering=True)
    rest = memory(room * 8, ["I2", "O"], (weights, sums, port("rw_port_2", DRAM_BITS, *both)))
    return {"sram_inputs": twice, "sram_tiles": rest | {"force_double_buffering": setup == "equal"}}


def hardware(setup: str, chip: Accelerator) -> dict[str, Any]:
    sum_bits = int(partial_sum_bytes() * 8)
    moves = [f"{operand}, {move}" for operand in ("I1", "I2", "O") for move in ("fh", "tl")] + ["O, fl", "O, th"]
    dram = memory(10**12, ["I1", "I2", "O"], [port("rw_port_1", DRAM_BITS, *moves)], r_cost=1.0, w_cost=1.0)
    return {
        "name": "equal",
        "memories": registers(sum_bits) | srams(setup, chip, sum_bits) | {"dram": dram},
        "operational_array": {
            "unit_energy": 0.0,
            "unit_area": 0.0,
            "dimensions": DIMENSIONS,
            "sizes": [ROWS, COLUMNS, DOT],
        },
    }


def searches(iterations: int) -> list[dict[str, Any]]:
    annealed = [{"engine": "salsa", "iterations": iterations, "criterion": by} for by in ("latency", "energy")]
    return [{"engine": "loma"}, *annealed]


def tasks(folder: Path, clock: float, iterations: int) -> Iterator[dict[str, Any]]:
    """Every set-up, layer, spatial mapping and search; JSON is YAML, so that is what ZigZag's files hold."""

    def file(name: str, content: object) -> str:
        path = folder / f"{name}.yaml"
        path.write_text(json.dumps(content))
        return str(path)

    links = {"O": "O", "W": "I2", "I": "I1"}
    for s, (setup, kib) in enumerate(SETUPS):
        equal = file(f"accelerator{s}", hardware(setup, accelerator(kib * 1024, clock)))
        for i, layer in enumerate(LAYERS):
            workload = file(f"layer{i}", [layer.zigzag])
            for stays, spatial in layer.spatial.items():
                mapping = [{"name": "default", "spatial_mapping": spatial, "memory_operand_links": links}]
                about = {"setup": setup, "sram_kib": kib, "layer": layer.title, "stays": stays}
                files = {"accelerator": equal, "workload": workload, "mapping": file(f"mapping{i}{stays[:1]}", mapping)}
                yield from (about | files | search | {"lpf_limit": LPF_LIMIT} for search in searches(iterations))


def question(task: dict[str, Any]) -> str:
    """A task without its temporary files, whose contents follow from the rest."""
    return json.dumps({key: value for key, value in task.items() if key not in FILES})


def run_zigzag(
    python: str, todo: Sequence[dict[str, Any]], kept: Path | None = None, processes: int = 1
) -> list[dict[str, Any]]:
    """Every task with its answer; those in the file `kept` are not asked again, and new ones are added to it."""
    known = dict(json.loads(line) for line in kept.read_text().splitlines()) if kept and kept.exists() else {}
    lock = threading.Lock()

    def ask(share: Sequence[dict[str, Any]]) -> None:
        with tempfile.TemporaryFile("w+") as asked:
            json.dump(share, asked)
            asked.seek(0)
            worker = subprocess.Popen([python, str(WORKER)], stdin=asked, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        answered = 0
        for task, line in zip(share, worker.stdout, strict=False):
            answered += 1
            with lock:
                known[question(task)] = json.loads(line)
                if kept:
                    with kept.open("a") as file:
                        file.write(json.dumps([question(task), json.loads(line)]) + "\n")
                print(f"{len(known)}/{len(todo)} {task['layer']}, {task['setup']}", file=sys.stderr)
        if worker.wait() or answered < len(share):
            raise SystemExit(f"ZigZag failed on {share[answered] if answered < len(share) else 'its way out'}")

    unasked = [task for task in todo if question(task) not in known]
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(ask, [unasked[start::processes] for start in range(processes)]))
    return [task | known[question(task)] for task in todo]


@contextlib.contextmanager
def zigzag_python(given: str | None) -> Iterator[str]:
    """The Python of an environment with ZigZag."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", ZIGZAG, "six"], check=True)
        yield python


def version(python: str) -> str:
    code = "import importlib.metadata as m; print(m.version('zigzag-dse'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


# Both.


def side_by_side(layer: Layer, setup: str, kib: int, clock: float, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Our cost and ZigZag's best mappings of a layer in a set-up."""
    mine = [a for a in answers if (a["setup"], a["sram_kib"], a["layer"]) == (setup, kib, layer.title)]
    found = [answer[kind] | {"stays": answer["stays"]} for answer in mine for kind in ("fastest", "leanest")]
    fastest = min(found, key=lambda f: (f["cycles"], total(f)))
    leanest = min(found, key=lambda f: (total(f), f["cycles"]))
    own = ours(layer, accelerator(kib * 1024, clock))
    return {
        "layer": layer.title,
        "setup": setup,
        "sram_kib": kib,
        "ours": own,
        "zigzag_fastest": fastest,
        "zigzag_leanest": leanest,
        "latency_ratio": own["cycles"] / fastest["cycles"],
        "dram_ratio": total(own) / total(leanest),
        "halo_ratio": own["with_halo"] / total(leanest),
        "dram_ratio_to_fastest": total(own) / total(fastest),
        "default_search_s": sum(a["seconds"] for a in mine if a["engine"] == "loma"),
        "all_searches_s": sum(a["seconds"] for a in mine),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zigzag-python", help="Python of an environment with zigzag-dse and six")
    parser.add_argument("--iterations", type=int, default=1000, help="of the annealing; 1000 is ZigZag's default")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--answers", type=Path, help="JSON lines of what ZigZag answered: kept there, not asked twice")
    parser.add_argument("--processes", type=int, default=1, help="that ask ZigZag at the same time")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    clock = clock_hz()
    with zigzag_python(options.zigzag_python) as python, tempfile.TemporaryDirectory() as folder:
        zigzag = version(python)
        answers = run_zigzag(
            python, list(tasks(Path(folder), clock, options.iterations)), options.answers, options.processes
        )
    rows = [side_by_side(layer, *setup, clock, answers) for setup in SETUPS for layer in LAYERS]
    result = {
        "machine": {"python": platform.python_version(), "cores": os.cpu_count(), "numpy": np.__version__},
        "zigzag": zigzag,
        "iterations": options.iterations,
        "architecture": accelerator(2**19, clock).to_dict() | {"sram_bytes": [kib * 1024 for kib in SIZES_KIB]},
        "seconds": {layer.title: our_seconds(layer, clock, options.repeats) for layer in LAYERS},
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "zigzag.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "zigzag.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
