"""What an evaluation costs, against the float network and against Brevitas: quality.json, quality.md.

    python reports/benchmarks/quality.py [--repeats 7] [--threads 1 2] [--tasks restore span ...] [--out DIR]

A candidate is an assignment that a search would ask for: formats alternate from layer to layer, weights
are quantized already (a search quantizes each layer's weight once per format), ranges are fitted.
Float and candidates run the evaluation batch in turn, round robin, and the median counts, so that a
disturbance of the machine meets all of them.

Brevitas: the same candidate from Brevitas layers, from a float network to outputs: build the layers,
set them up on the calibration batch (`calibration_mode`, as its users do), evaluate. Ours is the whole
call as well: install the assignment, run. The one-time calibration that all candidates of a study
share is given as a number of its own. Outputs are compared on the exported network, whose ranges are
the calibrated ones.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from codesign.export.brevitas import build, operand_ranges
from codesign.export.bundle import output_psnr_db
from codesign.formats import Assignment, FormatPair, LayerFormats, compiled
from codesign.models import Task, load_task
from codesign.quality import Evaluator
from codesign.quality.ranges import Ranges

PLAIN = ("int8:int8", "int4:fp8_e4m3", "fp8_e4m3:int8", "int4:int8", "int8:fp8_e4m3")
BLOCK = ("mxfp8_e4m3:mxfp8_e4m3", "mxfp4:mxfp4", "int4_g32:int8", "nvfp4:nvfp4")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # where examples/ is
LIMITS = {"plain": 1.15, "block": 1.35}
LEAST_SPEEDUP, LEAST_PSNR_DB = 3.0, 60.0


def mixed(evaluator: Evaluator, pairs: tuple[str, ...]) -> Assignment:
    """The pairs in turn over the layers of the network."""
    parsed = [FormatPair.parse(pair) for pair in pairs]
    return Assignment.of(
        {
            layer: LayerFormats.of_pair(parsed[i % len(parsed)], attention=kind == "attention")
            for i, (layer, kind) in enumerate(evaluator.layers.items())
        }
    )


def round_robin(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each, after one run of each that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for index in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if index:
                seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def against_float(task: Task, evaluator: Evaluator, repeats: int) -> dict[str, Any]:
    """Time of plain and block candidates over the float forward pass on the same samples."""
    candidates = {"plain": mixed(evaluator, PLAIN), "block": mixed(evaluator, BLOCK)}
    runs: dict[str, Callable[[], Any]] = {"float": lambda: task.run(task.module)}
    runs |= {name: lambda a=assignment: evaluator.outputs(a) for name, assignment in candidates.items()}
    runs |= {f"{name} in torch": lambda a=assignment: in_torch(evaluator, a) for name, assignment in candidates.items()}
    runs["bfloat16"] = lambda: in_bfloat16(lambda: task.run(task.module))
    with torch.inference_mode():
        times = round_robin(runs, repeats)
    rows = {}
    for name, limit in LIMITS.items():
        ratio = times[name] / times["float"]
        rows[name] = {"seconds": times[name], "ratio": ratio, "limit": limit, "within": ratio <= limit}
        rows[name]["ratio_in_torch"] = times[f"{name} in torch"] / times["float"]
    return {"float_seconds": times["float"], "bfloat16_ratio": times["bfloat16"] / times["float"], **rows}


def in_bfloat16(run: Callable[[], Any]) -> None:
    """With products of bfloat16, summed in float32, as oneDNN offers them: exact where both operands are bfloat16."""
    conv, matmul = torch.backends.mkldnn.conv, torch.backends.mkldnn.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    conv.fp32_precision = matmul.fp32_precision = "bf16"
    try:
        run()
    finally:
        conv.fp32_precision, matmul.fp32_precision = before


def in_torch(evaluator: Evaluator, assignment: Assignment) -> None:
    """The same without compiled kernels."""
    with compiled.switched_off():
        evaluator.outputs(assignment)


def against_brevitas(task: Task, evaluator: Evaluator, repeats: int) -> dict[str, Any]:
    """Time of one candidate, from the float network to outputs, and how closely the outputs agree."""
    assignment = mixed(evaluator, PLAIN)
    parts: dict[str, list[float]] = {"build": [], "calibrate": [], "evaluate": []}

    def brevitas() -> None:
        marks = [time.perf_counter()]
        network = build(task.module, assignment, ranges)
        marks.append(time.perf_counter())
        calibrate(network)
        marks.append(time.perf_counter())
        task.run(network)
        marks.append(time.perf_counter())
        for name, begin, end in zip(parts, marks, marks[1:], strict=False):
            parts[name].append(end - begin)

    def calibrate(network: torch.nn.Module) -> None:
        from brevitas.graph.calibrate import calibration_mode

        with calibration_mode(network):
            task.calibrate(network)

    ranges = operand_ranges(assignment, evaluator.network.ranges)
    with torch.inference_mode():
        times = round_robin({"codesign": lambda: evaluator.outputs(assignment), "brevitas": brevitas}, repeats)
    start = time.perf_counter()
    fresh = Ranges(task)
    operand_ranges(assignment, fresh)
    shared = time.perf_counter() - start
    speedup = times["brevitas"] / times["codesign"]
    evaluate = median(parts["evaluate"][1:])
    return {
        "codesign_seconds": times["codesign"],
        "brevitas_seconds": times["brevitas"],
        "brevitas_parts": {name: median(values[1:]) for name, values in parts.items()},
        "our_calibration_once_seconds": shared,
        "speedup": speedup,
        "speedup_evaluate_only": evaluate / times["codesign"],
        "limit": LEAST_SPEEDUP,
        "within": speedup >= LEAST_SPEEDUP,
    }


def agreement(task: Task, evaluator: Evaluator) -> dict[str, Any]:
    """PSNR of the Brevitas network's outputs to the evaluated ones."""
    found = {}
    candidates = {"int8": ("int8",), "fp8_e4m3": ("fp8_e4m3",), "mixed": PLAIN}
    for name, pairs in candidates.items():
        assignment = mixed(evaluator, pairs)
        network = build(task.module, assignment, operand_ranges(assignment, evaluator.network.ranges))
        with torch.inference_mode():
            psnr_db = output_psnr_db(task.run(network), evaluator.outputs(assignment))
        found[name] = {"psnr_db": psnr_db, "limit": LEAST_PSNR_DB, "within": psnr_db > LEAST_PSNR_DB}
    return found


def measure(task: Task, repeats: int, threads: list[int]) -> dict[str, Any]:
    """Everything about one task; of the bundled ones also what Brevitas needs, in as many threads as the last says."""
    evaluator = Evaluator(task, ranges="mse")
    row: dict[str, Any] = {"task": task.name, "layers": len(evaluator.layers), "float": {}}
    for count in threads:
        torch.set_num_threads(count)
        row["float"][str(count)] = against_float(task, evaluator, repeats)
    if task.bundled:
        row["brevitas"] = against_brevitas(task, evaluator, max(2, repeats // 2))
        row["agreement"] = agreement(task, evaluator)
    return row


def load(name: str) -> Task:
    """A bundled network, or a public one."""
    if name in ("span", "smollm2"):
        from examples.public.tasks import public_task

        return public_task(name, sequences=4)
    return load_task(name)


def public() -> list[str]:
    """Public networks that are there."""
    from examples.public.tasks import there

    return there()


def machine() -> dict[str, object]:
    """What the numbers were measured on."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "brevitas")}
    return {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), **versions}


def markdown(report: dict[str, Any]) -> str:
    """The same as tables to read."""
    about = ", ".join(f"{key} {value}" for key, value in report["machine"].items())
    lines = [
        "# One evaluation: time, and agreement with Brevitas",
        "",
        f"Median of {report['repeats']} rounds; {about}.",
        f"plain: {', '.join(PLAIN)} in turn over the layers. block: {', '.join(BLOCK)}.",
        "In torch: without the compiled kernels, all else equal. bfloat16: the float pass with products of bfloat16",
        "that are summed in float32, over the float pass: elements of 8 bits or fewer with scales that are powers of",
        "two would lose nothing by it.",
        "",
        "| task | threads | candidate | float ms | candidate ms | ratio | limit | ratio in torch | bfloat16 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        for threads, found in row["float"].items():
            for name in LIMITS:
                r = found[name]
                times = f"{found['float_seconds'] * 1e3:.0f} | {r['seconds'] * 1e3:.0f} | {r['ratio']:.2f}"
                limit = f"<= {r['limit']} {met(r)} | {r['ratio_in_torch']:.2f} | {found['bfloat16_ratio']:.2f}"
                lines.append(f"| {row['task']} | {threads} | {name} | {times} | {limit} |")
    threads = report["threads"][-1]
    lines += [
        "",
        f"The plain candidate from Brevitas layers, from the float network to outputs, {threads} threads:",
        "",
        "| task | codesign ms | Brevitas ms (build + calibrate + evaluate) | times ours | limit | evaluate alone |"
        " our calibration, once per study, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    own = [row for row in report["rows"] if "brevitas" in row]
    for row in own:
        b = row["brevitas"]
        parts = " + ".join(f"{1e3 * seconds:.0f}" for seconds in b["brevitas_parts"].values())
        lines.append(
            f"| {row['task']} | {b['codesign_seconds'] * 1e3:.0f} | {b['brevitas_seconds'] * 1e3:.0f} ({parts}) "
            f"| {b['speedup']:.1f} | >= {b['limit']:.0f} {met(b)} | {b['speedup_evaluate_only']:.1f} "
            f"| {b['our_calibration_once_seconds'] * 1e3:.0f} |"
        )
    lines += ["", "PSNR of the two networks' outputs (200 dB: equal bit for bit):", ""]
    lines += ["| task | formats | PSNR dB | limit |", "|---|---|---|---|"]
    for row in own:
        for name, r in row["agreement"].items():
            lines.append(f"| {row['task']} | {name} | {r['psnr_db']:.1f} | > {r['limit']:.0f} {met(r)} |")
    return "\n".join(lines) + "\n"


def met(result: dict[str, Any]) -> str:
    return "met" if result["within"] else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tasks", nargs="+", default=["restore", "rewrite", *public()], help="public ones if there")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # deprecation notices of Brevitas
    rows = [measure(load(name), options.repeats, options.threads) for name in options.tasks]
    report = {"machine": machine(), "threads": options.threads, "repeats": options.repeats, "rows": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "quality.json").write_text(json.dumps(report, indent=1) + "\n")
    (options.out / "quality.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
