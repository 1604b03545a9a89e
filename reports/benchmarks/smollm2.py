"""Time and memory of codesign on a public language model of 135 million parameters: smollm2.json and smollm2.md.

    python -m examples.public.smollm2           # downloads it first
    python reports/benchmarks/smollm2.py

Float passes and evaluations of 8 x 256 tokens take turns, one thread, in one process; sensitivities in another.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from codesign.formats import Assignment, FormatPair
from codesign.models import TaskOptions, load_task
from codesign.quality import Evaluator
from codesign.quality.sensitivity import sensitivities
from examples.public.smollm2 import directory

HERE = Path(__file__).parent
PAIRS = ("int8", "int4_g32:int8", "mxfp8_e4m3", "mxfp4:mxfp8_e4m3")
ROUNDS = 3


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(part: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    started = time.monotonic()
    task = load_task(f"transformers:{directory()}", name="smollm2", options=TaskOptions(sequences=8, length=256))
    workload = task.workload()
    load_s = time.monotonic() - started
    evaluator = Evaluator(task)
    evaluator.reference()
    evaluator.network  # noqa: B018  # calibrates
    if part == "sensitivities":
        started = time.monotonic()
        sensitivities(evaluator, [FormatPair.parse(pair) for pair in PAIRS])
        return {"sensitivities_s": time.monotonic() - started, "peak_gb": peak_gb()}
    assignments = {pair: Assignment.uniform(workload, pair) for pair in PAIRS}
    for each in assignments.values():
        evaluator(each)  # fits the ranges
    seconds: dict[str, list[float]] = {"float": []} | {pair: [] for pair in PAIRS}
    for _ in range(ROUNDS):
        for name, found in seconds.items():
            started = time.monotonic()
            if name == "float":
                with torch.inference_mode():
                    for _ in task.batches(task.module):
                        pass
            else:
                evaluator.again(assignments[name])
            found.append(time.monotonic() - started)
    medians = {name: statistics.median(found) for name, found in seconds.items()}
    ratios = {name: medians[name] / medians["float"] for name in PAIRS}
    return {"load_and_trace_s": load_s, "seconds": medians, "over_float": ratios, "peak_gb": peak_gb()}


def main() -> None:
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(json.dumps(measure(sys.argv[1])))
        return
    result = {}
    for part in ("evaluations", "sensitivities"):
        file = HERE / f".{part}.json"
        subprocess.run([sys.executable, __file__, part, str(file)], check=True)
        result[part] = json.loads(file.read_text())
        file.unlink()
    (HERE / "smollm2.json").write_text(json.dumps(result, indent=1) + "\n")
    evaluations, graph = result["evaluations"], result["sensitivities"]
    rows = "\n".join(
        f"| {pair} | {evaluations['seconds'][pair]:.1f} | {ratio:.2f} |"
        for pair, ratio in evaluations["over_float"].items()
    )
    (HERE / "smollm2.md").write_text(
        "# SmolLM2-135M on one thread\n\nWritten by `python reports/benchmarks/smollm2.py`; 8 x 256 tokens, medians of "
        f"{ROUNDS} in turns. Loading and tracing took {evaluations['load_and_trace_s']:.1f} s, a float pass "
        f"{evaluations['seconds']['float']:.1f} s; all formats evaluated in one process needed "
        f"{evaluations['peak_gb']:.2f} GB, sensitivities of {len(PAIRS)} pairs {graph['sensitivities_s']:.0f} s and "
        f"{graph['peak_gb']:.2f} GB.\n\n| formats | seconds | over the float pass |\n|---|---|---|\n" + rows + "\n"
    )
    print((HERE / "smollm2.md").read_text())


if __name__ == "__main__":
    main()
