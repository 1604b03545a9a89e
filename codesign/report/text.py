"""Numbers and sentences that both reports share."""

from __future__ import annotations

from collections import Counter
from typing import Any

from codesign.report.study_files import StudyFiles

_PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1, ""),
    (1e-3, "m"),
    (1e-6, "u"),
    (1e-9, "n"),
    (1e-12, "p"),
)


def human(value: float, unit: str) -> str:
    """Three significant digits, an SI prefix for seconds, joules, bytes and counts."""
    if value == 0:
        return "0"
    if unit in ("s", "J", "B", "bit2", "count"):
        for factor, prefix in _PREFIXES:
            if abs(value) >= factor * 0.9995:
                return f"{value / factor:.3g} {prefix}{'' if unit == 'count' else unit}".strip()
    return f"{value:.4g} {unit}".strip()


def formats_of(design: dict[str, Any], task: str) -> Counter[str]:
    """How many layers take each pair."""
    return Counter(f"{f.get('weight') or f.get('key')}:{f['activation']}" for f in design["assignments"][task].values())


def chip(accelerator: dict[str, Any]) -> str:
    """One line about an accelerator."""
    macs = accelerator["rows"] * accelerator["columns"] * accelerator["dot"]
    a = accelerator
    return (
        f"{a['rows']} x {a['columns']} units of dot-{a['dot']} ({macs:,} MACs a cycle) for {', '.join(a['pairs'])}; "
        f"{a['sram_bytes'] / 1024:g} KiB SRAM; {a['dram_channels']} x {a['dram']}; "
        f"{a['clock_hz'] / 1e6:g} MHz at {a['node_nm']:g} nm"
    )


def accumulation(worst: dict[str, Any]) -> str:
    """What a design's accumulator does to one network (an entry of its `accumulator`)."""
    if worst["sqnr_db"] is None:
        return "every sum exact"
    return f"{worst['sqnr_db']:.0f} dB in {worst['layer']} ({worst['accumulator']})"


def _accumulators(files: StudyFiles) -> str:
    """The worst layer of all reported designs, and how many designs were left out."""
    found = files.details["accumulators"]
    every = [
        (w["sqnr_db"], t, w) for d in files.designs for t, w in d["accumulator"].items() if w["sqnr_db"] is not None
    ]
    text = "Every sum of the reported designs is exact in its accumulator"
    if every:
        _, task, worst = min(every, key=lambda e: e[0])
        text = f"The accumulators of the reported designs keep every sum to {accumulation(worst)} of {task} or better"
    refused, limit = found["designs_refused"], found["threshold_db"]
    left_out = f"{refused} designs below {limit:g} dB were left out" if refused else f"none fell below {limit:g} dB"
    return f"{text}; {left_out}."


def summary(files: StudyFiles) -> list[str]:
    """What the study found, in sentences made from its numbers."""
    front, details = files.front, files.details
    chosen = files.design(details["chosen"])
    lines = [
        f"{front['evaluations']} measured candidates over {details['hardware_count']:,} accelerators "
        f"(10^{details['log10_designs']:.0f} possible designs); the front holds {front['front_size']:,} designs, "
        f"{len(files.designs)} of which stand for it here.",
        f"The balanced design {chosen['id']}: {chip(chosen['accelerator'])}.",
    ]
    reference = next((b for b in details["baselines"] if b["label"] == "uniform int8:int8"), None)
    if reference:
        parts = []
        for o in front["objectives"]:
            mine, other = chosen["objectives"][o["name"]], reference["objectives"][o["name"]]
            if o["name"].endswith(".quality"):
                parts.append(f"{o['name']} {mine:.3g} against {other:.3g}")
            else:
                parts.append(f"{mine / other:.2f} x its {o['name']}")
        lines.append(f"Against INT8 everywhere on its own balanced chip: {'; '.join(parts)}.")
    units = Counter(p for d in files.designs for p in d["accelerator"]["pairs"])
    lines.append(
        "Pairs that the front's units support: " + ", ".join(f"{p} in {n}" for p, n in units.most_common()) + "."
    )
    lines.append(_accumulators(files))
    beaten = [b for b in details["baselines"] if b["share_dominated"] == 1.0]
    lines.append(
        f"Mixed designs dominate every design of {len(beaten)} of {len(details['baselines'])} uniform formats; "
        "the table of baselines says where not, and why."
    )
    return lines


ASSUMPTIONS = (
    "Quality is measured by fake quantization of weights and of the inputs of every convolution, linear layer and "
    "attention product, accumulated in FP32; norms, softmax, activations and residual additions stay float.",
    "In the cost these run on a bf16 vector unit whose area is counted; its time is not.",
    "How far a unit's own accumulator is from exact sums is computed bit for bit on operands of a calibration run, at "
    "most 16 x 16 outputs of every layer.",
    "Area coefficients are fitted to logic synthesis; ratios between designs are claimed, absolute values are given "
    "as intervals (area_low_mm2 to area_high_mm2).",
    "Intervals are 95 % bootstrap over samples; differences to float are paired on the same samples and noise.",
)
