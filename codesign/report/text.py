"""Numbers and sentences that the HTML and the Markdown report share."""

from __future__ import annotations

from collections import Counter

from codesign.designs import AcceleratorFacts, Design, Study, WorstSum
from codesign.formats.assignment import METHODS, NEAREST
from codesign.search.results.words import SHARED, UNFOLDED, designs_in_words
from codesign.search.space.cost_metrics import COST_METRICS


def chip(accelerator: AcceleratorFacts) -> str:
    """An accelerator in one line."""
    macs = accelerator.rows * accelerator.columns * accelerator.dot
    a = accelerator
    lanes = f"{a.vector_lanes} vector lanes; " if a.vector_lanes else ""
    memory = f" ({a.dram_gib:g} GiB)" if a.dram_gib else ""
    others = "".join(f"{what} {name}; " for name, what in ((a.flash, "flash"), (a.codec, "weights in")) if name)
    others += "".join(f"{axis} {value:g}; " for axis, value in (a.others or {}).items())
    return (
        f"{a.rows} x {a.columns} units of dot-{a.dot} ({macs:,} MACs per cycle) for {', '.join(a.pairs)}; "
        f"{a.sram_bytes / 1024:g} KiB SRAM; {a.dram_channels} x {a.dram}{memory}; {others}{lanes}"
        f"{a.clock_hz / 1e6:g} MHz at {a.node_nm:g} nm"
    )


def accumulation(worst: WorstSum) -> str:
    """The worst layer of a network in a design's accumulator (`Design.accumulator`), in words."""
    if worst.sqnr_db is None:
        return "every sum exact"
    return f"{worst.sqnr_db:.0f} dB in {worst.layer} ({worst.accumulator})"


def _accumulators(files: Study) -> str:
    """The worst layer of all reported designs in its accumulator, and the number of excluded designs."""
    found = files.record.accumulators
    every = [(w.sqnr_db, t, w) for d in files.front for t, w in d.accumulator.items() if w.sqnr_db is not None]
    text = "Every sum of the reported designs is exact in its accumulator"
    if every:
        _, task, worst = min(every, key=lambda e: e[0])
        text = f"The accumulators of the reported designs keep every sum to {accumulation(worst)} of {task} or better"
    refused, limit = found.designs_refused, found.threshold_db
    left_out = f"{refused} designs below {limit:g} dB were left out" if refused else f"none fell below {limit:g} dB"
    return f"{text}; {left_out}."


def _searched(files: Study) -> str:
    front, details, apart = files.front, files.record, ""
    if details.told_apart is not None:  # older studies do not have it
        apart = f"{details.told_apart:,} of them better than any cheaper one by more than noise, "
    over = f" over {details.hardware_count:,} accelerators" if files.hardware else " of formats alone"
    return (
        f"{front.evaluations} measured candidates{over} "
        f"({designs_in_words(details.log10_designs)} possible designs); the front holds {front.front_size:,} designs, "
        f"{apart}{len(files.front)} of which represent it here{_alike(files)}."
    )


def _alike(files: Study) -> str:
    """The number of reported designs that are marked as equal to a cheaper one within noise."""
    count = sum(not design.told_apart for design in files.front)
    return f"; {count} of these, marked, are as good as a cheaper one within noise" if count else ""


def _qualities(files: Study) -> list[str]:
    """The definition of each network's quality, in words."""
    found = []
    for name, task in files.record.tasks.items():
        own = next((q.value for q in task.float if q.metric == task.metric), None)
        unit = f" in {task.unit}" if task.unit else ""
        facts = files.front.tasks.get(name)
        clipped = f" Activations in plain formats are clipped {_RANGES[facts.ranges]}." if facts else ""
        float_ = "" if own is None else f"; the float network's own is {own:.4g}"
        found.append(f"Quality of {name} is {task.metric}{unit}: a loss, smaller is better{float_}.{clipped}")
    return found


def _priced(files: Study) -> str:
    front, details = files.front, files.record
    return (
        f"Every one of {details.hardware_count:,} accelerators was priced with the given formats: "
        f"{details.designs_priced:,} designs that can be built. The front is exact and holds "
        f"{front.front_size:,} of them, {len(files.front)} of which represent it here; all of them, and the front "
        "of each choice of formats, are in fronts.csv."
    )


def _given_formats(files: Study) -> list[str]:
    """How often each network has each of its given formats on the whole front."""
    found = []
    for task, counts in files.record.formats.items():
        shown = ", ".join(f"{label} in {count:,}" for label, count in counts.items())
        found.append(f"Formats of {task} on the whole front: {shown}.")
    return found


def _against_int8(files: Study, chosen: Design) -> list[str]:
    reference = next((b for b in files.record.baselines if b.label == "uniform int8:int8"), None)
    if reference is None:
        return []
    parts = []
    for o in files.front.objectives:
        mine, other = chosen.objectives[o.name], reference.objectives[o.name]
        if o.name.endswith(".quality"):
            parts.append(f"{o.name} {mine:.3g} against {other:.3g}")
        else:
            parts.append(f"{mine / other:.2f} x its {o.name}")
    return [f"Against INT8 everywhere{' on its own balanced chip' if files.hardware else ''}: {'; '.join(parts)}."]


def _beaten(files: Study) -> str:
    baselines = files.record.baselines
    beaten = [b for b in baselines if b.share_dominated == 1.0]
    return (
        f"Mixed designs dominate every design of {len(beaten)} of {len(baselines)} uniform formats; "
        "the table of baselines says where not, and why."
    )


def _sentinels(files: Study) -> list[str]:
    """The sentinels of a resumed study, in words."""
    again = files.record.sentinels
    moved = [f"the {s.rank} of {s.task} {s.before:.6g} -> {s.now:.6g}" for s in again if s.moved != "no"]
    if not again:
        return []
    if not moved:
        return [f"Before this run {len(again)} known assignments were measured again: all came out the same."]
    return [
        f"Before this run {len(again)} known assignments were measured again; {len(moved)} came out differently, "
        f"within their intervals: {', '.join(moved)}."
    ]


def summary(files: Study) -> list[str]:
    """The results of the study, in sentences."""
    chosen = files.chosen
    what = chip(chosen.accelerator) if files.hardware else "formats alone, as the space gave no hardware"
    balanced = f"The balanced design {chosen.id}: {what}."
    units = Counter(p for d in files.front for p in d.accelerator.pairs)
    supported = ", ".join(f"{p} in {n}" for p, n in units.most_common())
    pairs = f"Pairs that the front's units support: {supported}."
    if files.measured:
        of_units = [pairs, _accumulators(files)] if files.hardware else []
        compared = [*_against_int8(files, chosen), *of_units, _beaten(files)]
        return [_searched(files), *_qualities(files), balanced, *compared, *_sentinels(files)]
    return [_priced(files), balanced, *_given_formats(files), pairs]


def assumptions(files: Study) -> list[str]:
    """The assumptions behind the numbers of the study, in sentences."""
    unfolded = [
        f"{name}: {UNFOLDED.format(count)}" for name, task in files.record.tasks.items() if (count := task.batch_norms)
    ]
    shared = [
        f"{name}: {SHARED.format(count)}" for name, task in files.record.tasks.items() if (count := task.shared_samples)
    ]
    of_cost = _OF_COST if files.hardware else ()
    of_quality = [text for text in _OF_QUALITY if files.hardware or text != _OF_SUMS] + _rounded(files)
    return [*(of_quality if files.measured else _OF_GIVEN_FORMATS), *unfolded, *shared, *of_cost, *_bitops(files)]


def _rounded(files: Study) -> list[str]:
    """How weights of the reported designs are rounded, if not to the nearest."""
    layers = (formats for d in files.front for assignment in d.assignments.values() for formats in assignment.values())
    methods = sorted({formats.method for formats in layers} - {NEAREST})
    if not methods:
        return []
    meant = "; ".join(f"+{method}: {METHODS[method]}" for method in methods)
    named = (
        "The word after + in a pair of formats says how its weights are rounded; without one, each number is rounded"
    )
    return [f"{named} to the nearest of the format. {meant}."]


def _bitops(files: Study) -> list[str]:
    """The definition of bitops, if it is an objective."""
    named = [o.name for o in files.front.objectives if o.name.endswith("bitops")]
    return [f"{' and '.join(named)}: {COST_METRICS['bitops'].meaning}."] if named else []


_RANGES = {
    "auto": "by one of the rules minmax, output and mse: for each format, the one that changes the network's outputs "
    "on the calibration data least (ranges: auto)",
    "output": "to the range that changes the layer's own output on the calibration data least (ranges: output)",
    "mse": "to the range of least squared error over all calibration data (ranges: mse)",
    "minmax": "to the largest magnitude of the calibration data (ranges: minmax)",
    "percentile": "to the 99.99 % quantile of magnitudes of the calibration data (ranges: percentile)",
}
_OF_SUMS = (
    "How far a unit's own accumulator is from exact sums is computed bit for bit on operands of a calibration run, at "
    "most 16 x 16 outputs of every layer."
)
_OF_QUALITY = (
    "Quality is measured by fake quantization of weights and of the inputs of every convolution, linear layer and "
    "attention product, accumulated in FP32; norms, softmax, activations and residual additions stay float.",
    "Ranges of activations, rounded weights and the preparation of the float network come from calibration data alone; "
    "qualities are of evaluation data.",
    _OF_SUMS,
    "Intervals are 95 % bootstrap over samples; differences to float are paired on the same samples and noise.",
)
_OF_GIVEN_FORMATS = (
    "No network was run: what these formats, and the sums of their accumulators, cost in quality is not known here, so "
    "that formats of few bits look best. No accumulator can overflow.",
)
_OF_COST = (
    "In the cost norms, softmax, activations and residual additions run on a bf16 vector unit, whose area, time and "
    "energy are counted.",
    "Area coefficients are fitted to logic synthesis; ratios between designs are claimed, absolute values are given "
    "as intervals (area_low_mm2 to area_high_mm2).",
)
