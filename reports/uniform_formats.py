"""Float and one format throughout: every metric of both bundled networks, with intervals.

    python reports/uniform_formats.py

writes reports/uniform_formats.json and .md. Differences to float are paired: the same samples and noise.
"""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.models import BUNDLED, load_task
from codesign.quality import Evaluator, Quality
from codesign.report.markdown import table

FORMATS = ("int8", "fp8_e4m3", "fp8_e5m2", "mxfp8_e4m3", "mxfp4", "nvfp4", "int4_g32", "fp4_e2m1")
HERE = Path(__file__).parent


def measured(name: str) -> dict[str, list[Quality]]:
    """Format -> its qualities; the float network first."""
    evaluator = Evaluator(load_task(name))
    found = {"float": evaluator.float_metrics()}
    for fmt in FORMATS:
        pair = FormatPair(fmt, fmt)
        layers = {n: LayerFormats.of_pair(pair, attention=k == "attention") for n, k in evaluator.layers.items()}
        assignment = Assignment.of(layers)
        found[fmt] = evaluator.metrics(assignment)
        found[fmt][0] = replace(found[fmt][0], draws=evaluator(assignment).draws)
        print(f"{name} {fmt}: {found[fmt][0].metric} {found[fmt][0].value:.4g}", flush=True)
    return found


def answer(name: str, found: dict[str, list[Quality]], first: str = "fp8_e4m3", second: str = "int8") -> str:
    """Which of two formats loses less on the deciding metric; their difference is paired on the common resamples."""
    a, b = found[first][0], found[second][0]
    half = 1.959964 * float(np.subtract(a.draws, b.draws).std(ddof=1))
    difference = a.value - b.value
    verdict = "a tie" if abs(difference) <= half else f"{first if difference < 0 else second} is better"
    return (
        f"{name}: {a.metric} {a.value:.4g} in {first}, {b.value:.4g} in {second} ({a.unit}, smaller is better); "
        f"difference {difference:+.3g} [{difference - half:+.3g}, {difference + half:+.3g}]: **{verdict}**."
    )


def cell(quality: Quality) -> str:
    text = f"{quality.value:.4g} [{quality.low:.4g}, {quality.high:.4g}]"
    if quality.delta is not None:
        text += f"<br>{quality.delta:+.3g} [{quality.delta_low:+.3g}, {quality.delta_high:+.3g}]"
    return text


def main() -> None:
    results = {name: measured(name) for name in BUNDLED}
    parts = [
        "# One format throughout",
        f"Weights and activations of every convolution, linear layer and attention product in one format; "
        f"made by `python reports/uniform_formats.py` (torch {torch.__version__.split('+')[0]}, {platform.machine()}). "
        "Brackets: 95 % bootstrap interval. Second lines: difference to the float network, paired on the same samples.",
    ]
    parts += ["## FP8 or INT8?", "\n".join(f"- {answer(name, found)}" for name, found in results.items())]
    for name, found in results.items():
        metrics = list(found.values())[-1]
        columns = ["format", *(f"{m.metric} ({m.unit or m.direction}), n = {m.n}" for m in metrics)]
        rows = [[fmt, *(cell(q) for q in qualities)] for fmt, qualities in found.items()]
        parts += [f"## {name}", table(columns, rows)]
    (HERE / "uniform_formats.md").write_text("\n\n".join(parts) + "\n")
    record = {
        name: {fmt: [replace(q, draws=()).to_dict() for q in qualities] for fmt, qualities in found.items()}
        for name, found in results.items()
    }
    (HERE / "uniform_formats.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
