"""From what one trial costs to a study of a 7B network on 10, 100 and 1,000 workers: scale.json and scale.md.

    python reports/benchmarks/scale.py [--price 3] [--utilisation 0.4] [--server-cores 8] [--parts costs,idle,...]

Measured here (scale_parts/): what every operation asks of a PostgreSQL that waits for its disk, directly and by way of
examples/cluster/storage_proxy.py; how often coordinator and workers do it; how many trials a second the storage takes;
the engine's time for a batch, and what a large one costs; a decoder layer of Llama 2 7B under codesign. From these and
from the assumptions, which are options, the plan is calculated (scale_parts/plan.py). About six minutes on two cores;
--parts '' calculates anew from scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna

sys.path.insert(0, str(Path(__file__).parents[2]))
from scale_parts import evaluation, proposals, study
from scale_parts.crowd import crowd
from scale_parts.operations import Trials, capacity, costs
from scale_parts.page import markdown
from scale_parts.places import Place, place
from scale_parts.plan import WAYS, Device, Measured, mean, plan, shortest
from scale_parts.plan import evaluation as evaluated

from codesign.search import load_space
from codesign.search.space.axes import hardware_choices

HERE = Path(__file__).parent
WORKERS = (10, 100, 1_000)
EVALUATIONS = 1_000
CROWDS = ((10, 2.0, 4), (100, 4.0, 4), (400, 10.0, 3))  # workers (and their batch), seconds an evaluation, batches
DRAINED, BY = 150, (1, 2, 4, 8)  # trials in a full queue, worker processes
BATCHES, SEEDS = (10, 100, 500), 3
WORKS = (evaluation.Work(64, 512), evaluation.Work(166, 2048))
PARTS = ("costs", "idle", "capacity", "study", "crowd", "batches", "enumerated", "layer")


def measure(parts: list[str], record: dict[str, Any], save: Callable[[], None]) -> None:
    """Measure these parts into the record."""
    load = os.getloadavg()[0]
    space = load_space(proposals.overhead.SPACE)
    trials = Trials(evaluation.network()["layers"], hardware_choices(space), space.objectives)

    def part(name: str, do: Callable[[], Any]) -> None:
        if name not in parts:
            return
        started, before = time.monotonic(), os.getloadavg()[0]
        record[name] = do()
        record.setdefault("runs", {})[name] = {
            "seconds": round(time.monotonic() - started, 1),
            "load_before": round(before, 2),
            "load_after": round(os.getloadavg()[0], 2),
        }
        print(f"{name}: {record['runs'][name]}", file=sys.stderr, flush=True)
        save()

    if set(parts) & {"costs", "idle", "capacity", "study"}:
        with place() as server:
            record["machine"] = machine(server) | {"load": round(load, 2)}
            part("costs", lambda: {way: costs(server, trials, proxied=way == "proxy") for way in WAYS})
            part("idle", lambda: study.idle(server, trials))
            part("capacity", lambda: capacities(server, trials))
            part("study", lambda: study.study(server))
    part("crowd", lambda: [crowd(trials, n, n, seconds, rounds) for n, seconds, rounds in CROWDS])
    part("batches", lambda: proposals.batches(list(BATCHES)))
    part("enumerated", lambda: proposals.enumerated_batches(list(BATCHES), SEEDS))
    part("layer", evaluation.layer)


def capacities(server: Place, trials: Trials) -> dict[str, list[dict[str, float]]]:
    return {way: [capacity(server, trials, workers, DRAINED, proxied=way == "proxy") for workers in BY] for way in WAYS}


def machine(server: Place) -> dict[str, Any]:
    """What the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "optuna": optuna.__version__,
        "postgresql": server.version,
    }


def calculate(record: dict[str, Any], options: argparse.Namespace) -> None:
    """The plan, from the measured parts of the record and the assumptions."""
    network, layer = evaluation.network(), record["layer"]
    moved, ns = mean(layer["quantize_bytes_per_weight"]), mean(layer["quantize_ns_per_weight"])
    devices = [
        Device(
            options.device,
            1e12 * options.peak_tflops * options.utilisation,
            1e12 * options.bandwidth_tbs * options.memory_utilisation,
            options.price,
        ),
        Device("one core of this machine", layer["flop_per_s"], 1e9 * moved / ns, options.core_price),
    ]
    record["assumed"] = {k: v for k, v in vars(options).items() if k not in ("parts", "out")}
    record["network"] = network
    record["devices"] = [asdict(device) for device in devices]
    weights_bytes = 2 * network["parameters"]
    record["weights_bytes"], start_s = weights_bytes, weights_bytes / (1e9 * options.load_gbs)
    record["start_s"] = start_s
    record["works"], record["plan"], measured = [], [], Measured(record)
    record["shortest"] = [shortest(measured, way, n, options.server_cores) for n in WORKERS for way in WAYS]
    for device, work in ((devices[0], WORKS[0]), (devices[0], WORKS[1]), (devices[1], WORKS[0])):
        parts = evaluated(device, work, network, layer)
        record["works"].append(
            {"device": device.name, "windows": work.windows, "tokens": work.tokens, "macs": work.macs, **parts}
        )
        for workers in WORKERS:
            row = plan(
                measured,
                device,
                work,
                parts["evaluation_s"],
                workers=workers,
                evaluations=EVALUATIONS,
                server_cores=options.server_cores,
                start_s=start_s,
            )
            record["plan"].append(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="measure these anew (default: all)")
    parser.add_argument("--out", type=Path, default=HERE)
    assumed = parser.add_argument_group("assumptions")
    assumed.add_argument("--device", default="NVIDIA H100 SXM", help="what a worker evaluates on (default %(default)s)")
    assumed.add_argument("--peak-tflops", type=float, default=989.4, help="bf16, dense (default %(default)s)")
    assumed.add_argument("--bandwidth-tbs", type=float, default=3.35, help="of its memory, TB/s (default %(default)s)")
    assumed.add_argument("--memory-gb", type=float, default=80.0, help="of the device (default %(default)s)")
    assumed.add_argument("--utilisation", type=float, default=0.4, help="share of the peak (default %(default)s)")
    assumed.add_argument(
        "--memory-utilisation", type=float, default=0.7, help="share of its rate (default %(default)s)"
    )
    assumed.add_argument("--price", type=float, default=3.0, help="dollars a device hour (default %(default)s)")
    assumed.add_argument("--core-price", type=float, default=0.04, help="dollars a core hour (default %(default)s)")
    assumed.add_argument("--load-gbs", type=float, default=1.0, help="GB/s at which a worker loads weights (default 1)")
    assumed.add_argument("--server-cores", type=int, default=8, help="of the database's host (default %(default)s)")
    options = parser.parse_args()
    file = options.out / "scale.json"
    record = json.loads(file.read_text()) if file.exists() else {}
    options.out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        file.write_text(json.dumps(record, indent=1) + "\n")

    wanted = [p for p in options.parts.split(",") if p]
    if unknown := set(wanted) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if set(wanted) == set(PARTS):
        record.clear()
    if wanted:
        measure(wanted, record, save)
    if missing := [p for p in PARTS if p not in record]:
        parser.error(f"{file} lacks {', '.join(missing)}: measure these")
    calculate(record, options)
    save()
    (options.out / "scale.md").write_text(markdown(record))
    print(markdown(record))


if __name__ == "__main__":
    main()
