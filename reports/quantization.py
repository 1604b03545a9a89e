"""What post-training methods buy, by network and format: reports/quantization.json and quantization.md.

    python -m examples.public.smollm2; python -m examples.public.text   # the public networks, if they are wanted
    python reports/quantization.py tables rewrite restore span smollm2
    python reports/quantization.py tuned rewrite restore
    python reports/quantization.py costs rewrite smollm2
    python reports/quantization.py fronts
    python reports/quantization.py page

Every result is written when it is there, and is not measured again. Weights and inputs of every layer are in the
formats of a row; both operands of attention products in the format after the slash. One thread. About 40 minutes of two
cores, most of them for SmolLM2.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from codesign.files import write_atomic
from codesign.formats import Assignment, FormatPair
from codesign.models import Task, load_task
from codesign.models.preparation import prepared_by, steps_of
from codesign.quality import Evaluator
from codesign.quality.ranges import check_rule
from codesign.quality.rounding.chosen import Wanted
from codesign.quality.tuning import Options, tune
from codesign.search import search

FILE = Path(__file__).with_suffix(".json")
EIGHT = ("int8/int8", "int8_token/int8_token", "fp8_e4m3/fp8_e4m3", "mxfp8_e4m3/mxfp8_e4m3")
FOUR = (
    "int4:int8_token/int8_token",
    "int4_g32:int8_token/int8_token",
    "mxfp4:mxfp8_e4m3/mxfp8_e4m3",
    "mxfp4:mxfp8_e4m3/mxfp4:mxfp8_e4m3",
    "nvfp4:fp8_e4m3_token/fp8_e4m3_token",
)
PREPARATIONS = ("none", "fold", "fold,equalize", "fold,smooth", "fold,rotate", "fold,rotate,smooth")
METHODS = ("clip", "gptq", "descent")
RULES = ("minmax", "mse", "output", "auto")
TUNED = FOUR[:3]
STEPS = 800
SEEDS = (0, 1, 2)
EVALUATIONS = 40
SPACE = """
name: quantization
tasks:
  restore: {{task: restore{more}}}
  rewrite: {{task: rewrite{more}}}
pairs: [int8, fp8_e4m3, mxfp8_e4m3, "int4:int8", "int4_g32:int8_g32", "mxfp4:mxfp8_e4m3", mxfp4]
hardware:
  units:
    sets: [[int8], [fp8_e4m3], [mxfp8_e4m3], [int8, "int4:int8"], [int8, "int4_g32:int8_g32"]]
    subsets_of: [[mxfp8_e4m3, "mxfp4:mxfp8_e4m3", mxfp4]]
  rows: [4, 8, 16]
  columns: [4, 8]
  sram_kib: [128, 512]
objectives: [restore.quality, rewrite.quality, area_mm2, rewrite.energy_j]
search: {{evaluations: {evaluations}, batch: 8, front_size: 400}}
"""
VARIANTS = {"without": ", prepare: none, methods: nearest, ranges: mse", "with": ""}


@dataclass(frozen=True)
class Row:
    """One measured cell."""

    formats: str
    prepare: str = "none"
    method: str = "nearest"
    ranges: str = "mse"

    @property
    def key(self) -> str:
        return "|".join((self.formats, self.prepare, self.method, self.ranges))


def rows(name: str) -> list[Row]:
    """What is measured, all of it of the bundled networks; descent takes long on large ones."""
    methods = METHODS if name in ("rewrite", "restore") else METHODS[:2]
    found = [Row(formats, ranges=rule) for formats in ("int8/int8", "fp8_e4m3/fp8_e4m3") for rule in RULES]
    found += [Row(formats, prepare) for prepare in PREPARATIONS for formats in (*EIGHT, *FOUR)]
    found += [Row(formats, "none", method) for method in methods for formats in FOUR]
    found += [Row(formats, "fold,rotate", method) for method in methods[1:] for formats in FOUR]
    return list(dict.fromkeys(found))


def load(name: str) -> Task:
    if name in ("span", "smollm2"):
        from examples.public.tasks import public_task

        return public_task(name)
    return load_task(name)


def read() -> dict[str, Any]:
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def keep(*place: str, value: object) -> None:
    """Write one result; another process may have written others since."""
    data = read()
    level = data
    for key in place[:-1]:
        level = level.setdefault(key, {})
    level[place[-1]] = value
    write_atomic(FILE, json.dumps(data, indent=1, sort_keys=True) + "\n")


def assignment_of(evaluator: Evaluator, formats: str, method: str) -> Assignment:
    """The pair before the slash in all weighted layers, that after it in attention."""
    weighted, _, attention = formats.partition("/")
    pair = FormatPair.parse(weighted)
    pair = FormatPair(pair.weight, pair.activation, method)
    of_attention = FormatPair.parse(attention)
    kinds = evaluator.layers
    return Assignment.of_pairs({n: of_attention if k == "attention" else pair for n, k in kinds.items()}, kinds)


def table(name: str) -> None:
    task, done = load(name), read().get("tables", {}).get(name, {})
    current: tuple[tuple[str, str], Evaluator] | None = None
    for row in sorted(rows(name), key=lambda row: (row.prepare, row.ranges)):
        if row.key in done:
            continue
        if current is None or current[0] != (row.prepare, row.ranges):
            started = time.monotonic()
            ready = prepared_by(task, steps_of(row.prepare.split(",")))
            seconds = time.monotonic() - started
            if ready.preparation is not None:
                found = {"s": seconds, "error": ready.preparation.error, "matches": len(ready.preparation.matches)}
                keep("preparations", name, row.prepare, value=found)
            current = (row.prepare, row.ranges), Evaluator(ready, ranges=check_rule(row.ranges))
            current[1].reference()
        evaluator = current[1]
        started = time.monotonic()
        quality = evaluator(assignment_of(evaluator, row.formats, row.method))
        value, low, high = (task.raw(each) for each in (quality.value, quality.low, quality.high))
        facts = {"loss": value, "low": low, "high": high, "s": time.monotonic() - started}
        keep("tables", name, row.key, value=facts)
        print(name, row.key, f"{value:.4g}", f"{facts['s']:.1f} s", flush=True)


def cost(name: str) -> None:
    """Time of evaluations by method, in turns, and of finding all weights."""
    task = prepared_by(load(name), ["usual"])
    evaluator = Evaluator(task)
    evaluator.reference()
    formats = ("int4", "int4_g32", "mxfp4", "nvfp4")
    started = time.monotonic()
    evaluator.chosen.find(Wanted.of(layer, fmt, "gptq") for layer in evaluator.layers for fmt in formats)
    finding = time.monotonic() - started
    kinds: dict[str, tuple[str, str]] = {
        "int4_g32:int8 nearest": ("int4_g32:int8/int8", "nearest"),
        "int4_g32:int8 gptq": ("int4_g32:int8/int8", "gptq"),
        "int8": ("int8/int8", "nearest"),
        "int8_token": ("int8_token/int8_token", "nearest"),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(6):
        for kind, (pair, method) in kinds.items():
            assignment = assignment_of(evaluator, pair, method)
            started = time.monotonic()
            evaluator.again(assignment)
            if turn:  # the first one rounds weights and fits ranges
                seconds[kind].append(time.monotonic() - started)
    medians = {kind: statistics.median(found) for kind, found in seconds.items()}
    keep("costs", name, value={"seconds": medians, "finding_s": finding, "weights": list(formats)})
    print(name, medians, f"finding {finding:.1f} s", flush=True)


def tuned(name: str) -> None:
    """Tuning of designs that GPTQ has rounded."""
    task = prepared_by(load(name), ["usual"])
    evaluator = Evaluator(task)
    for formats in TUNED:
        if formats in read().get("tuned", {}).get(name, {}):
            continue
        found = tune(evaluator, assignment_of(evaluator, formats, "gptq"), Options(steps=STEPS), lambda *_: None)
        losses = {"before": found.before, "after": found.after}
        facts = {k: [task.raw(each) for each in (q.value, q.low, q.high)] for k, q in losses.items()}
        keep("tuned", name, formats, value=facts | {"s": found.seconds, "steps": found.steps})
        print(name, formats, facts, f"{found.seconds:.0f} s", flush=True)


def fronts() -> None:
    """Searches with and without methods, each with the same evaluations."""
    for seed in SEEDS:
        for variant, more in VARIANTS.items():
            if variant in read().get("fronts", {}).get(str(seed), {}):
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "space.yaml"
                path.write_text(SPACE.format(more=more, evaluations=EVALUATIONS))
                started = time.monotonic()
                study = search(path, Path(folder) / "study", seed=seed)
                names = study.front.names
                designs = [
                    {
                        "objectives": [d.objectives[n] for n in names],
                        "pairs": sorted(set().union(*map(d.pairs, d.assignments))),
                    }
                    for d in study.front
                ]
                facts = {"names": names, "designs": designs, "s": time.monotonic() - started}
                keep("fronts", str(seed), variant, value=facts)
                print(seed, variant, len(designs), "designs", f"{facts['s']:.0f} s", flush=True)


# ---- the page ------------------------------------------------------------------------------------


def markdown(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (columns, ["---"] * len(columns), *lines))


def cell(found: dict[str, dict[str, float]], row: Row) -> str:
    facts = found.get(row.key)
    return "" if facts is None else f"{facts['loss']:.3g} [{facts['low']:.3g}, {facts['high']:.3g}]"


def pages(data: dict[str, Any]) -> str:
    parts = [_INTRODUCTION]
    for name, found in data.get("tables", {}).items():
        parts.append(f"## {_TITLES[name]}")
        lines = [
            [rule, *(cell(found, Row(f, ranges=rule)) for f in ("int8/int8", "fp8_e4m3/fp8_e4m3"))] for rule in RULES
        ]
        parts.append("Ranges of activations per tensor, nothing else done:")
        parts.append(markdown(["ranges", "int8", "fp8_e4m3"], lines))
        parts.append("Preparation of the float network, weights to the nearest, ranges by least squared error:")
        short = [f.partition("/")[0] for f in EIGHT]
        parts.append(
            markdown(["prepare", *short], [[p, *(cell(found, Row(f, p)) for f in EIGHT)] for p in PREPARATIONS])
        )
        parts.append(markdown(["prepare", *FOUR], [[p, *(cell(found, Row(f, p)) for f in FOUR)] for p in PREPARATIONS]))
        parts.append(
            "Rounding of weights; *of nearest*: the loss over that of the row of the nearest without preparation:"
        )
        lines = []
        for prepare, method in (
            ("none", "nearest"),
            *(("none", m) for m in METHODS),
            *(("fold,rotate", m) for m in ("nearest", "gptq", "descent")),
        ):
            lines.append([f"{method}, prepare: {prepare}", *(_against(found, Row(f, prepare, method)) for f in FOUR)])
        parts.append(markdown(["method", *FOUR], lines))
        if data.get("tuned", {}).get(name):
            parts.append(
                f"Tuned for {STEPS} steps (`codesign tune`) from what GPTQ made of the folded and rotated network:"
            )
            parts.append(_tuned(data["tuned"][name], found))
        made = data.get("preparations", {}).get(name, {})
        lines = [[p, str(f["matches"]), f"{f['error']:.1g}", f"{f['s']:.1f}"] for p, f in made.items()]
        parts.append(markdown(["prepare", "matches", "outputs moved by", "s"], lines))
    if data.get("costs"):
        parts += ["## What methods cost", _COSTS]
        lines = []
        for name, facts in data["costs"].items():
            s = facts["seconds"]
            ratio = s["int4_g32:int8 gptq"] / s["int4_g32:int8 nearest"]
            lines.append([name, f"{ratio:.3f}", f"{s['int8_token'] / s['int8']:.3f}", f"{facts['finding_s']:.0f}"])
        parts.append(
            markdown(["network", "gptq over nearest", "per token over per tensor", "weights found in s"], lines)
        )
    if data.get("fronts"):
        parts += ["## What methods change on the front", *_fronts(data["fronts"])]
    return "\n\n".join(parts) + "\n"


def _tuned(tuned: dict[str, Any], found: dict[str, dict[str, float]]) -> str:
    lines = []
    for formats, facts in tuned.items():
        nearest = found[Row(formats).key]["loss"]
        before, after = (f"{facts[k][0]:.3g} [{facts[k][1]:.3g}, {facts[k][2]:.3g}]" for k in ("before", "after"))
        lines.append([formats, before, after, f"{facts['after'][0] / nearest:.2f}", f"{facts['s']:.0f}"])
    return markdown(["formats", "gptq", "tuned", "of nearest", "s"], lines)


def _against(found: dict[str, dict[str, float]], row: Row) -> str:
    base, facts = found.get(Row(row.formats).key), found.get(row.key)
    if base is None or facts is None:
        return ""
    return f"{facts['loss']:.3g} ({facts['loss'] / base['loss']:.2f} of nearest, {facts['s']:.0f} s)"


def _fronts(found: dict[str, Any]) -> list[str]:
    points = {
        (seed, variant): np.array([d["objectives"] for d in facts["designs"]])
        for seed, variants in found.items()
        for variant, facts in variants.items()
    }
    names = next(iter(next(iter(found.values())).values()))["names"]
    every = np.concatenate(list(points.values()))
    low, reference = every.min(axis=0), every.max(axis=0)
    scaled = {key: (values - low) / (reference - low) for key, values in points.items()}
    lines = []
    for seed in found:
        if {"with", "without"} - set(found[seed]):
            continue
        volumes = {v: float(moocore.hypervolume(scaled[seed, v], ref=np.full(len(names), 1.05))) for v in VARIANTS}
        beaten = {
            v: float(
                np.mean(
                    [
                        bool(((points[seed, o] <= p).all(1) & (points[seed, o] < p).any(1)).any())
                        for p in points[seed, v]
                    ]
                )
            )
            for v, o in (("without", "with"), ("with", "without"))
        }
        lines.append(
            [
                seed,
                *(f"{volumes[v]:.4f}" for v in VARIANTS),
                f"{100 * beaten['without']:.0f} %",
                f"{100 * beaten['with']:.0f} %",
            ]
        )
    counts: dict[str, int] = {}
    for variants in found.values():
        for design in variants.get("with", {"designs": []})["designs"]:
            for pair in design["pairs"]:
                counts[pair] = counts.get(pair, 0) + 1
    brought = ", ".join(f"{pair} ({count})" for pair, count in sorted(counts.items(), key=lambda item: -item[1]))
    columns = ["seed", "hypervolume without", "with", "designs without that one with dominates", "the other way round"]
    text = (
        f"Objectives: {', '.join(names)}, each scaled to all fronts of this table; {EVALUATIONS} evaluations a search."
    )
    return [text, markdown(columns, lines), f"Pairs in the designs with methods, by the number of designs: {brought}."]


_TITLES = {
    "rewrite": "rewrite (bundled): KL to float, nats per token",
    "restore": "restore (bundled): squared error to float's output",
    "span": "SPAN x4 (public, super-resolution): loss on its raw scale, 10**(-PSNR/10)",
    "smollm2": "SmolLM2-135M-Instruct (public): KL to float, nats per token, 8 x 128 tokens",
}
_INTRODUCTION = """# Quantization methods

Made by `python reports/quantization.py`. Losses of the deciding metric on its raw scale with 95 % intervals, smaller is
better; weights and inputs of all layers in the formats of a column, attention products (both operands) in those after
the slash. Methods use calibration data only; losses are of evaluation data. The weights of SmolLM2 come from a file in
Q4_1 and lie on a 4-bit grid in blocks of 32, which flatters int4_g32 weights that are neither rotated nor scaled."""
_COSTS = """Medians of five evaluations in turns, one process, one thread. *Weights found*: int4, int4_g32, mxfp4 and
nvfp4 by GPTQ for all layers, from the first run of the calibration data on."""

PARTS: dict[str, Callable[[str], None]] = {"tables": table, "tuned": tuned, "costs": cost}


def main() -> None:
    torch.set_num_threads(1)
    part, *names = sys.argv[1:] or ["page"]
    if part == "fronts":
        fronts()
    elif part != "page":
        for name in names:
            PARTS[part](name)
    data = read()
    write_atomic(FILE.with_suffix(".md"), pages(data))


if __name__ == "__main__":
    main()
