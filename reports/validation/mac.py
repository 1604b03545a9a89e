"""Compute units: the model against synthesis and published ratios, written to mac.md and mac.json beside this file.

    python reports/validation/mac.py

Reads the synthesised units that ship with the package (codesign/hardware/data/mac_units_*.json); nothing is
synthesised here. `codesign calibrate --liberty FILE -o DIR` makes such a file and a model from any cell library.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from codesign.formats import FormatPair
from codesign.hardware import MacUnit
from codesign.hardware.coefficients import read_data
from codesign.hardware.mac import fit_errors

HERE = Path(__file__).parent
RELAXED_GHZ = 0.05  # nothing is pipelined: the areas that single-unit publications compare
DOTS = (1, 4, 8, 16, 32)
FLOAT_ACCUMULATORS = ("exact", "aligned16", "aligned25", "fp16", "fp32")


def area(pair: str, accumulator: str, dot: int, clock_ghz: float = RELAXED_GHZ) -> float:
    return MacUnit((FormatPair.parse(pair),), accumulator, dot, clock_ghz=clock_ghz).area_um2.value


# name, published value, tolerance, source, what of ours stands against it
PUBLISHED = [
    (
        "FP8 E4M3 / INT8, dot-32",
        1.126,
        0.10,
        "FormatScope, sky130 synthesis",
        lambda: area("fp8_e4m3", "aligned16", 32) / area("int8", "int32", 32),
        "window of 16 bits, FP32 accumulator that keeps subnormals and rounds to nearest even",
    ),
    (
        "INT8 / INT4, dot-32",
        3.56,
        0.15,
        "FormatScope, sky130 synthesis",
        lambda: area("int8", "int32", 32) / area("int4", "int24", 32),
        "32-bit and 24-bit accumulators",
    ),
    (
        "FP8 E4M3 / INT8, single MAC, FP16 accumulator",
        1.53,
        0.25,
        "van Baalen et al. 2023, FP8 versus INT8",
        lambda: area("fp8_e4m3", "fp16", 1) / area("int8", "int32", 1),
        "INT8 with a 32-bit accumulator",
    ),
    (
        "INT4 / INT8 with vector scales (VS-Quant W4A4)",
        0.63,
        0.15,
        "Dai et al. 2021, VS-Quant",
        lambda: area("int4_g32", "fp32", 16) / area("int8", "int32", 16),
        "FP16 scales a block of 32 on both operands, FP32 accumulator; VS-Quant has 4- to 6-bit integer scales",
    ),
]


def main() -> None:
    started = time.time()
    result: dict[str, Any] = {
        "provenance": read_data("mac_model.yaml")["provenance"],
        "errors": fit_errors(),
        "published": [
            {"name": n, "published": v, "tolerance": t, "source": s, "model": round(ours(), 3), "unit": how}
            for n, v, t, s, ours, how in PUBLISHED
        ],
        "fp8_over_int8": {
            str(clock): {
                a: {
                    str(dot): round(area("fp8_e4m3", a, dot, clock) / area("int8", "int32", dot, clock), 3)
                    for dot in DOTS
                }
                for a in FLOAT_ACCUMULATORS
            }
            for clock in (RELAXED_GHZ, 1.0)
        },
        "seconds": 0.0,
    }
    result["seconds"] = round(time.time() - started, 1)
    (HERE / "mac.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (HERE / "mac.md").write_text(text(result), encoding="utf-8")
    print(text(result))


def text(result: dict[str, Any]) -> str:
    p = result["provenance"]
    lines = [
        "# Compute units: model against synthesis and publications",
        "",
        f"Written by `python reports/validation/mac.py`. Library {p['library']}, {p['tool']}, {p['units']} units at",
        f"clocks of {' and '.join(f'{c:g} ps' for c in p['clocks_ps'])}; failed: {', '.join(p['failed']) or 'none'}.",
        "",
        "## Error of the model (relative, absolute value)",
        "",
        "| what | evaluated on | median | 90th percentile | worst |",
        "|---|---|---|---|---|",
    ]
    for what, kinds in result["errors"].items():
        for how, e in kinds.items():
            numbers = " | ".join(f"{100 * e[k]:.1f} %" for k in ("median", "p90", "worst"))
            lines.append(f"| {what} | {how.replace('_', ' ')} | {numbers} |")
    lines += [
        "",
        "## Published ratios (not pipelined)",
        "",
        "| ratio | published | here | within | unit here |",
        "|---|---|---|---|---|",
    ]
    for r in result["published"]:
        off = r["model"] / r["published"] - 1
        verdict = f"yes ({100 * off:+.0f} %)" if abs(off) <= r["tolerance"] else f"**no** ({100 * off:+.0f} %)"
        lines.append(f"| {r['name']} ({r['source']}) | {r['published']} | {r['model']} | {verdict} | {r['unit']} |")
    for clock, rows in result["fp8_over_int8"].items():
        lines += [
            "",
            f"## FP8 E4M3 over INT8 + INT32, area at equal dot length, cut for {clock} GHz",
            "",
            "| accumulator | " + " | ".join(f"dot-{d}" for d in DOTS) + " |",
            "|---|" + "---|" * len(DOTS),
        ]
        lines += [f"| {a} | " + " | ".join(f"{row[str(d)]:.2f}" for d in DOTS) + " |" for a, row in rows.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
