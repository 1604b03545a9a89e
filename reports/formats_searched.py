"""Is there a format of 4 bits that is better than MXFP4, NVFP4 and int4_g32 for the bundled networks?

    python reports/formats_searched.py [--evaluate N]

writes reports/formats_searched.json and .md: all formats of the grammar with 4 to 4.5 stored bits, scales included,
tried on sampled layers of both networks (`codesign.search.space.grammar`); the best N and the three known ones, each
for weights and activations of both networks, measured by the evaluator with intervals. Weights are rounded to the
nearest, as prepared by default. Differences are paired on the same samples. Areas: units of 16 products at 7 nm.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from codesign.formats import Assignment, FormatPair, LayerFormats, get_format
from codesign.hardware import MacUnit
from codesign.models import BUNDLED, load_task
from codesign.quality import Evaluator, Quality
from codesign.quality.operands import sample_operands
from codesign.report.markdown import table
from codesign.search.space.grammar import Screened, candidates, error_db, screen
from codesign.search.space.written import GrammarSpec

HERE = Path(__file__).parent
KNOWN = ("mxfp4", "nvfp4", "int4_g32")
DOT = 16


def measured(names: list[str]) -> dict[str, dict[str, Quality]]:
    """Network -> format -> its deciding quality, with draws."""
    found: dict[str, dict[str, Quality]] = {}
    for network in BUNDLED:
        evaluator = Evaluator(load_task(network))
        found[network] = {}
        for name in names:
            pair = FormatPair(name, name)
            layers = {n: LayerFormats.of_pair(pair, attention=k == "attention") for n, k in evaluator.layers.items()}
            quality = evaluator(Assignment.of(layers))
            found[network][name] = quality
            print(f"{network} {name}: {quality.metric} {quality.value:.4g}", flush=True)
    return found


def difference(one: Quality, other: Quality) -> tuple[float, float, float]:
    """(difference, low, high) of two qualities, paired on their common resamples; 95 %."""
    half = 1.959964 * float(np.subtract(one.draws, other.draws).std(ddof=1))
    value = one.value - other.value
    return value, value - half, value + half


def area(name: str) -> float:
    return MacUnit((FormatPair(name, name),), dot=DOT).area_um2.value / DOT


def report(tried: tuple[Screened, ...], known: dict[str, float], found: dict[str, dict[str, Quality]]) -> None:
    names = list(next(iter(found.values())))
    areas = {name: area(name) for name in names}
    errors = {each.name: each.error_db for each in tried} | known
    lines = ["# Is there a better format of 4 bits?", (__doc__ or "").split("\n\n")[2].strip()]
    answers = []
    for network, of_network in found.items():
        best_known = min(KNOWN, key=lambda name: of_network[name].value)
        better = []
        for name in names:
            value, _, high = difference(of_network[name], of_network[best_known])
            if name not in KNOWN and high < 0 and get_format(name).bits_per_element <= 4.5:
                better.append((value, name))
        ratio = {name: areas[name] / areas[best_known] for name in names}
        said = ", ".join(f"{name} ({value:+.3g}, area {ratio[name]:.2f})" for value, name in sorted(better)) or "none"
        unit = of_network[best_known].unit
        answers.append(
            f"- {network}: of the known, {best_known} loses least. Better than it, with the whole interval of the "
            f"difference ({unit or of_network[best_known].metric}; area of a product over its): {said}."
        )
    lines += ["\n".join(answers), "## Measured"]
    rows = []
    for name in sorted(names, key=lambda name: errors.get(name, 0.0)):
        cells = [name, f"{get_format(name).bits_per_element:.3g}", f"{errors[name]:.2f}", f"{areas[name]:.1f}"]
        for of_network in found.values():
            q = of_network[name]
            cells.append(f"{q.value:.4g} [{q.low:.4g}, {q.high:.4g}]")
            value, low, high = difference(q, of_network["nvfp4"])
            cells.append(f"{value:+.3g} [{low:+.3g}, {high:+.3g}]")
        rows.append(cells)
    columns = ["format", "bits", "error of layers (dB)", "um2 a product"]
    for network, of_network in found.items():
        q = of_network[names[0]]
        columns += [f"{network} {q.metric} ({q.unit}), smaller is better", "to nvfp4"]
    lines += [table(columns, rows), f"## Tried on layers: {len(tried)} formats, the best 40"]
    shown = [
        [s.name, f"{s.bits:.3g}", f"{s.error_db:.2f}", "" if s.area_um2 is None else f"{s.area_um2:.1f}", s.why]
        for s in tried[:40]
    ]
    lines.append(table(["format", "bits", "error of layers (dB)", "um2 a product", "why"], shown))
    (HERE / "formats_searched.md").write_text("\n\n".join(lines) + "\n")
    record: dict[str, Any] = {
        "tried": [asdict(each) for each in tried],
        "known_error_db": known,
        "area_um2": areas,
        "measured": {n: {f: replace(q, draws=()).to_dict() for f, q in of.items()} for n, of in found.items()},
    }
    (HERE / "formats_searched.json").write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--evaluate", type=int, default=6, metavar="N", help="formats to measure besides the known ones"
    )
    arguments = parser.parse_args()
    grammar = GrammarSpec(keep=arguments.evaluate, dot=DOT)
    networks = [sample_operands(load_task(name)) for name in BUNDLED]
    known = {name: error_db(get_format(name), networks) for name in KNOWN}
    tried = screen(candidates(grammar), networks, grammar)
    kept = [each.name for each in tried if each.kept and each.name not in KNOWN]
    print(f"{len(tried)} tried; known {known}; kept {kept}", flush=True)
    report(tried, known, measured([*KNOWN, *kept]))


if __name__ == "__main__":
    main()
