"""Compute units: the model against synthesis and publications, written to mac.md, mac.json and two pictures beside it.

    python reports/validation/mac.py

Reads the synthesised units that ship with the package (codesign/hardware/data/mac_units_*.json); nothing is
synthesised here. `codesign calibrate --liberty FILE -o DIR` makes such a file and a model from any cell library.
Draws fp8_int8.svg, and formats.svg as `codesign formats --all --plot` does. Takes some five minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
from mac_published import LIBRARIES, PUBLISHED, area
from matplotlib.figure import Figure

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.calibration.fit.area_delay import (
    Sample,
    area_error,
    delay_error,
    fit_area,
    fit_delay,
    held_out,
    summary,
)
from codesign.hardware.calibration.synthesis.grid import SHARED_FAMILY
from codesign.hardware.rtl import Unit
from codesign.hardware.units.coefficients import DATA
from codesign.hardware.units.unit_model import load_model

HERE = Path(__file__).parent
DOTS = (1, 4, 8, 16, 32)
FLOAT_ACCUMULATORS = ("exact", "aligned16", "aligned25", "fp16", "fp32")
WINDOWS = (12, 14, 16, 18, 20, 22, 25)


# arithmetic alone at 7 nm, pJ: Jouppi et al. 2021 (Ten Lessons From Three Generations), table 2
ENERGIES = (
    ("int8", "int32", 0.07 + 0.03, "INT8 multiply + INT32 add"),
    ("bf16", "fp32", 0.21 + 0.38, "BF16 multiply + FP32 add"),
)


def samples(library: str) -> list[Sample]:
    found = []
    for row in json.loads((DATA / f"mac_units_{library}.json").read_text()):
        pairs = tuple(FormatPair.parse(text) for text in row["pairs"])
        unit = Unit(pairs, row["accumulator"], row["lanes"], frozenset(row["cuts"]), tuple(row["rates"]))
        found.append(Sample(row["family"], unit, row["clock_ps"], row["parts"], row["area_um2"], row["delay_ps"]))
    return found


def by_family(library: str) -> dict[str, dict[str, dict[str, float]]]:
    """Errors of every family by a fit without it; of several formats by one without the unit."""
    measured = samples(library)
    single = [s for s in measured if s.family != SHARED_FAMILY]
    shared = [s for s in measured if s.family == SHARED_FAMILY]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for what, fit, error in (("area", fit_area, area_error), ("delay", fit_delay, delay_error)):
        errors = held_out(single, fit, error, "family")
        whole = held_out(measured, fit, error, "unit")
        for family in dict.fromkeys(s.family for s in single):
            own = [e for e, s in zip(errors, single, strict=True) if s.family == family]
            found.setdefault(family, {})[what] = summary(own)
        own = [e for e, s in zip(whole, measured, strict=True) if s.family == SHARED_FAMILY]
        found.setdefault(SHARED_FAMILY, {})[what] = summary(own)
    assert shared
    return found


def sharing(library: str) -> list[dict[str, Any]]:
    """Synthesised units of several formats against the model's largest unit of one of the formats, by area."""
    node = next(node for node, (name, _, _) in LIBRARIES.items() if name == library)
    rows = []
    model = load_model(LIBRARIES[node][1])
    for sample in samples(library):
        if sample.family != SHARED_FAMILY or sample.clock_ps != max(s.clock_ps for s in samples(library)):
            continue
        unit = sample.unit
        alone = []
        for pair, mode in zip(unit.pairs, unit.modes, strict=True):
            one = Unit((pair,), unit.accumulator, mode.products)
            alone.append(model.area(one.cut(model.plan(one, sample.clock_ps).cuts)).value)
        rows.append(
            {
                "pairs": [str(pair) for pair in unit.pairs],
                "products": [mode.products for mode in unit.modes],
                "area_um2": round(sample.area_um2, 1),
                "over_largest": round(sample.area_um2 / max(alone), 3),
                "over_all": round(sample.area_um2 / sum(alone), 3),
            }
        )
    return rows


def fp8_over_int8(node: float, clock_ghz: float) -> dict[str, list[float]]:
    """By accumulator, over DOTS."""
    return {
        sums: [
            round(area("fp8_e4m3", sums, d, node, clock_ghz) / area("int8", "int32", d, node, clock_ghz), 3)
            for d in DOTS
        ]
        for sums in FLOAT_ACCUMULATORS
    } | {
        "fp32, INT8 too": [
            round(area("fp8_e4m3", "fp32", d, node, clock_ghz) / area("int8", "fp32", d, node, clock_ghz), 3)
            for d in DOTS
        ]
    }


def energies() -> list[dict[str, Any]]:
    rows = []
    for name, sums, published, what in ENERGIES:
        pair = FormatPair.parse(name)
        for dot in (1, 16):
            found = MacUnit((pair,), sums, dot).energy_pj(pair)
            rows.append({"what": what, "published_pj": round(published, 3), "dot": dot, "model_pj": found.to_dict()})
    return rows


def measured() -> dict[str, Any]:
    return {
        "libraries": {
            name: {
                "provenance": asdict(load_model(file).provenance),
                "errors": load_model(file).errors,
                "families": by_family(name),
                "sharing": sharing(name),
            }
            for name, file, _ in LIBRARIES.values()
        },
        "published": [
            {
                "name": p.name,
                "published": p.value,
                "tolerance": p.tolerance,
                "source": p.source,
                "unit": p.unit,
                "ours": {LIBRARIES[node][0]: round(p.ours(node), 3) for node in LIBRARIES},
                "reason": p.reason,
            }
            for p in PUBLISHED
        ],
        "windows": {
            LIBRARIES[node][0]: {
                w: round(area("fp8_e4m3", f"aligned{w}", 32, node) / area("int8", "int32", 32, node), 3)
                for w in WINDOWS
            }
            for node in LIBRARIES
        },
        "fp8_over_int8": {
            f"{name}, {(clock and f'cut for {clock:g} GHz') or 'not pipelined'}": fp8_over_int8(node, clock)
            for node, (name, _, _) in LIBRARIES.items()
            for clock in (0.0, {7.0: 1.0, 130.0: 0.15, 180.0: 0.12}[node])
        },
        "energies": energies(),
    }


def main() -> None:
    result = measured()
    (HERE / "mac.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (HERE / "mac.md").write_text(text(result), encoding="utf-8")
    draw(result["fp8_over_int8"])
    command = [sys.executable, "-m", "codesign", "formats", "--all", "--plot", str(HERE / "formats.svg")]
    subprocess.run([*command, "--json"], check=True, capture_output=True)
    print(text(result))


def draw(tables: dict[str, dict[str, list[float]]]) -> None:
    figure = Figure(figsize=(11, 12), layout="constrained")
    panels = figure.subplots(len(LIBRARIES), 2, sharex=True, sharey=True).flat
    for axes, (title, rows) in zip(panels, tables.items(), strict=True):
        for sums, ratios in rows.items():
            axes.plot(DOTS, ratios, marker="o", label=sums)
        axes.axhline(1, color="gray", linewidth=0.8)
        axes.set_title(title)
        axes.set_xscale("log", base=2)
        axes.set_xticks(DOTS, [str(d) for d in DOTS])
        axes.grid(visible=True, linewidth=0.3)
    figure.supxlabel("dot-product length")
    figure.supylabel("area, FP8 E4M3 / INT8 with INT32")
    figure.axes[0].legend(title="accumulator", fontsize="small")
    with matplotlib.rc_context({"svg.hashsalt": "codesign"}):
        figure.savefig(HERE / "fp8_int8.svg", metadata={"Date": None})


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def text(result: dict[str, Any]) -> str:
    lines = [
        "# Compute units: model against synthesis and publications",
        "",
        "Written by `python reports/validation/mac.py`.",
        "How far synthesis of one unit scatters, which no model can tell: scatter.md.",
    ]
    for name, found in result["libraries"].items():
        lines += library_text(name, found)
    lines += published_text(result)
    for title, rows in result["fp8_over_int8"].items():
        lines += [
            "",
            f"### FP8 E4M3 over INT8 + INT32, area at equal dot length: {title}",
            "",
            "| accumulator of FP8 | " + " | ".join(f"dot-{d}" for d in DOTS) + " |",
            "|---|" + "---|" * len(DOTS),
        ]
        lines += [f"| {sums} | " + " | ".join(f"{x:.2f}" for x in row) + " |" for sums, row in rows.items()]
    lines += [
        "",
        "![FP8 over INT8](fp8_int8.svg)",
        "",
        "A single FP8 MAC with a float sum is far larger than an INT8 one: aligning, adding and normalising serve one",
        "product. A longer dot product shares them. An exact sum has no shifter behind the adder, and costs registers.",
        "",
        "## Energy",
        "",
        "Of one MAC on operands of the bundled networks, 7 nm; published figures are of the arithmetic alone, ours",
        "hold operand and accumulator registers and their clock. low and high: the networks with the error of the",
        "model ([energy.md](energy.md)).",
        "",
        "| arithmetic | published (Jouppi et al. 2021), pJ | unit | value | low | high |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["energies"]:
        ours = " | ".join(f"{row['model_pj'][key]:.2f}" for key in ("value", "low", "high"))
        lines.append(f"| {row['what']} | {row['published_pj']:.2f} | dot-{row['dot']} | {ours} |")
    lines += [
        "",
        "## SQNR against area",
        "",
        "Drawn by `codesign formats --all --plot formats.svg`: SQNR of products on the rewrite network's own tensors.",
        "",
        "![SQNR against area](formats.svg)",
    ]
    return "\n".join(lines) + "\n"


def library_text(name: str, found: dict[str, Any]) -> list[str]:
    p = found["provenance"]
    lines = [
        "",
        f"## {name}",
        "",
        f"Library {p['library']} (SHA-256 {p['sha256'][:16]}), {p['tool']}, {p['units']} units at clocks of",
        f"{' and '.join(f'{c:g} ps' for c in p['clocks_ps'])}; failed: {', '.join(p['failed']) or 'none'}. "
        f"Synthesis took {p['synthesis_s'] / 60:.0f} minutes of one core.",
        "",
        "| error of | evaluated on | median | 90th percentile | worst |",
        "|---|---|---|---|---|",
    ]
    for what, kinds in found["errors"].items():
        for how, e in kinds.items():
            numbers = " | ".join(percent(e[k]) for k in ("median", "p90", "worst"))
            lines.append(f"| {what} | {how.replace('_', ' ')} | {numbers} |")
    lines += [
        "",
        "By family, which the fit has not seen (several formats: not the unit):",
        "",
        "| family | area: median | worst | delay: median | worst |",
        "|---|---|---|---|---|",
    ]
    for family, kinds in found["families"].items():
        cells = [percent(kinds[what][key]) for what in ("area", "delay") for key in ("median", "worst")]
        lines.append(f"| {family} | {' | '.join(cells)} |")
    lines += [
        "",
        "What sharing costs: synthesised area over units of one format each, at the slower clock.",
        "",
        "| modes (products a cycle) | um2 | over the largest | over all of them |",
        "|---|---|---|---|",
    ]
    for row in found["sharing"]:
        modes = ", ".join(f"{pair} ({n})" for pair, n in zip(row["pairs"], row["products"], strict=True))
        lines.append(f"| {modes} | {row['area_um2']:.0f} | {row['over_largest']:.2f} | {row['over_all']:.2f} |")
    return lines


def published_text(result: dict[str, Any]) -> list[str]:
    libraries = list(result["libraries"])
    lines = [
        "",
        "## Published ratios (units not pipelined)",
        "",
        "| ratio | published | " + " | ".join(libraries) + " | unit here |",
        "|---|---|" + "---|" * len(libraries) + "---|",
    ]
    notes = []
    for row in result["published"]:
        cells, missed = [], False
        for name in libraries:
            off = row["ours"][name] / row["published"] - 1
            missed |= abs(off) > row["tolerance"]
            cells.append(
                f"{row['ours'][name]:.2f} ({100 * off:+.0f} %{'' if abs(off) <= row['tolerance'] else ', **off**'})"
            )
        published = f"{row['published']:g} +- {100 * row['tolerance']:.0f} %"
        lines.append(f"| {row['name']} ({row['source']}) | {published} | {' | '.join(cells)} | {row['unit']} |")
        if row["reason"]:
            source = row["source"].split(",")[-1].strip()
            notes.append(f"- {row['name']} ({source}){', off' if missed else ''}: {row['reason']}.")
    lines += ["", *notes, "", "FP8 E4M3 over INT8 at dot-32 by the bits that its aligned sum keeps:", ""]
    lines += ["| library | " + " | ".join(map(str, WINDOWS)) + " |", "|---|" + "---|" * len(WINDOWS)]
    for name, row in result["windows"].items():
        lines.append(f"| {name} | " + " | ".join(f"{x:.2f}" for x in row.values()) + " |")
    return lines


if __name__ == "__main__":
    main()
