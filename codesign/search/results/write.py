"""Writing a study's folder: front.json, fronts.csv, trials.csv, details.json, examples.json and space.yaml."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

import numpy as np

from codesign.designs import (
    Accumulators,
    Baseline,
    Candidate,
    Design,
    Metric,
    NetworkRecord,
    Study,
    StudyRecord,
    WorstSum,
    save_study,
)
from codesign.designs.folder import Examples
from codesign.designs.record import FloatMetric, ProgressPoint, SentinelRecord
from codesign.files import csv_text, read_text
from codesign.models import Example, TextExample
from codesign.search.engine.points import Designs, Pool
from codesign.search.results.records import (
    batch_norms,
    design_of,
    front_of,
    layer_table,
    peak_memory_bytes,
)
from codesign.search.space.axes import grid_parameters
from codesign.search.study.acceptance import Accepted, accepted
from codesign.search.study.progress import Progress
from codesign.search.study.representatives import balanced, unit_box
from codesign.search.study.study import OpenStudy


def write_results(study: OpenStudy, progress: Progress | None = None) -> Study:
    """Measure every metric of the designs to report, write the study's folder, and return the study.

    Raises InputError if no design passes the check of accumulators, EnvironmentProblem if the folder cannot be written.
    """
    report = progress or (lambda *_: None)
    started = time.monotonic()
    found = accepted(study, report)
    shown, told = found.front.take(found.rows), found.apart[found.rows]
    apart = np.flatnonzero(told)
    chosen, worst = int(apart[balanced(shown.take(apart))]), _lowest_quality(study, shown)
    designs = []
    for i in range(len(shown)):
        report("metrics", i, len(shown), "")
        designs.append(_design(study, shown, i, found.accumulators[i], told_apart=bool(told[i]), full=True))
    report("metrics", len(shown), len(shown), "")
    baselines = _baselines(study, designs)
    study.timings["metrics"] = time.monotonic() - started
    front = front_of(
        study.space,
        found.front,
        designs,
        seed=study.seed,
        reference=study.reference,
        evaluations=study.evaluations,
    )
    examples = _examples(study, [designs[i] for i in dict.fromkeys((chosen, worst))])
    record = _record(study, found, designs[chosen].id, designs[worst].id, baselines)
    written = Study(study.folder, front, record, examples)
    reported = dict(zip(found.rows.tolist(), designs, strict=True))
    tables = {"trials.csv": _trials_csv(study), "fronts.csv": _front_csv(study, found, reported)}
    save_study(written, read_text(study.space.path), tables)
    return written


def _lowest_quality(study: OpenStudy, front: Designs) -> int:
    columns = [i for i, o in enumerate(study.space.objectives) if o.is_quality]
    return int(unit_box(front.objectives)[:, columns or [0]].sum(axis=1).argmax())


def _design(
    study: OpenStudy,
    designs: Designs,
    row: int,
    accumulator: Mapping[str, WorstSum] = MappingProxyType({}),
    *,
    told_apart: bool = True,
    full: bool,
) -> Design:
    """One measured design; with `full` every metric of its networks is measured."""
    index = {name: int(designs.index[name][row]) for name in study.space.networks}
    assignments = {
        name: network.assignment(study.measured[name].choices[index[name]])
        for name, network in study.space.networks.items()
    }
    metrics = {n: study.evaluators[n].metrics(a) for n, a in assignments.items()} if full else {}
    return design_of(
        study.space,
        int(designs.accelerator[row]),
        assignments,
        quality={name: study.measured[name].qualities[i] for name, i in index.items()},
        metrics=metrics,
        accumulator=accumulator,
        told_apart=told_apart,
    )


def _baselines(study: OpenStudy, designs: Sequence[Design]) -> tuple[Baseline, ...]:
    """For each uniform format that was measured, the balanced design on accelerators that support it alone."""
    mixed = [design for design in designs if len(design.formats()) > 1]
    found = (_baseline(study, column, mixed) for column in range(len(study.space.pairs)))
    return tuple(baseline for baseline in found if baseline is not None)


def _baseline(study: OpenStudy, column: int, mixed: Sequence[Design]) -> Baseline | None:
    """The baseline of one pair; None if it was not measured in every layer, or no unit supports it alone."""
    space, pools = study.space, study.pools()
    index = {n: i for n in space.networks if (i := _uniform_index(study, n, column)) is not None}
    alone = 1 if space.spec.hardware is not None else len(space.pairs)  # number of pairs of the unit
    only = [g for g, s in enumerate(study.combiner.supports) if s[column] and s.sum() == alone]
    if len(index) < len(space.networks) or not only:
        return None
    members = [m if g in only else m[:0] for g, m in enumerate(study.combiner.groups)]
    uniform = study.combiner.front(
        {n: Pool(pools[n].choices[[i]], pools[n].quality[[i]]) for n, i in index.items()}, members
    )
    if not len(uniform):
        return None
    uniform = Designs(uniform.accelerator, {n: np.full(len(uniform), i) for n, i in index.items()}, uniform.objectives)
    design = _design(study, uniform, balanced(uniform), full=False)
    every = _share_dominated(study, uniform)
    winner = next((other.id for other in mixed if other.dominates(design)), None)
    return Baseline.of(
        design,
        label=f"uniform {space.pairs[column]}",
        dominated_by=winner,
        on_front=winner is None and every != 1.0,
        designs=len(uniform),
        share_dominated=every,
        note=_why(every, len(uniform), of_chips=space.spec.hardware is not None),
    )


def _uniform_index(study: OpenStudy, name: str, column: int) -> int | None:
    choice = np.full(len(study.space.networks[name].layers), column)
    return next((i for i, c in enumerate(study.measured[name].choices) if (c == choice).all()), None)


def _share_dominated(study: OpenStudy, uniform: Designs) -> float:
    """The share of a uniform format's own front that mixed-format designs of this study dominate."""
    pools = study.pools()
    keep = {n: np.array([i for i, c in enumerate(p.choices) if len(set(c.tolist())) > 1]) for n, p in pools.items()}
    if any(not len(rows) for rows in keep.values()):
        return 0.0
    mixed = study.combiner.front({n: type(p)(p.choices[keep[n]], p.quality[keep[n]]) for n, p in pools.items()})
    found = mixed.objectives
    beaten = [bool(((found <= v).all(axis=1) & (found < v).any(axis=1)).any()) for v in uniform.objectives]
    return float(np.mean(beaten))


def _why(share: float, count: int, *, of_chips: bool) -> str:
    if not of_chips:
        return "dominated by a mixed design" if share == 1.0 else "stays undominated"
    if share == 1.0:
        return f"all {count} of its best designs are dominated by mixed designs"
    kept = round((1 - share) * count)
    return (
        f"{kept} of its {count} best designs stay undominated: a unit for one format alone is the smallest there is "
        "at its quality, and a mixed design pays for the second mode"
    )


def _record(study: OpenStudy, found: Accepted, chosen: str, worst: str, baselines: tuple[Baseline, ...]) -> StudyRecord:
    space = study.space
    return StudyRecord(
        tasks={name: _network(study, name) for name in space.networks},
        baselines=baselines,
        chosen=chosen,
        worst=worst,
        history=tuple(
            ProgressPoint(evaluations=int(p["evaluations"]), hypervolume=p["hypervolume"]) for p in study.history
        ),
        sensitivities={n: _sensitivity_table(study, n) for n in space.networks},
        timings=study.timings,
        hardware_count=len(space.grid),
        log10_designs=space.size(),
        failures=tuple(study.failures),
        sentinels=tuple(SentinelRecord(**asdict(s), moved=s.moved) for s in study.sentinels),
        accumulators=Accumulators(
            threshold_db=space.spec.accumulator_sqnr_db,
            layers_measured=len(study.accumulation),
            designs_refused=study.refused,
        ),
        measured={n: e.measured for n, e in study.evaluators.items()},
        peak_memory_bytes=peak_memory_bytes(),
        told_apart=int(found.apart.sum()),
    )


def _network(study: OpenStudy, name: str) -> NetworkRecord:
    network = study.space.networks[name]
    floats = [Metric.of(quality).alone() for quality in study.evaluators[name].float_metrics()]
    return NetworkRecord(
        metric=network.task.deciding,
        unit=floats[0].unit,
        batch_norms=batch_norms(network.task),
        layers=layer_table(network.workload),
        float=tuple(FloatMetric(**dict(metric)) for metric in floats),
    )


def _sensitivity_table(study: OpenStudy, name: str) -> dict[str, dict[str, float]]:
    network, table = study.space.networks[name], study.tables[name]
    return {
        layer: {str(p): float(v) for p, v in zip(network.pairs, row, strict=True) if np.isfinite(v)}
        for layer, row in zip(network.layers, table, strict=True)
    }


def _examples(study: OpenStudy, picked: Sequence[Design]) -> Examples:
    """Pictures and texts of the float network and of these designs, for tasks that have examples."""
    found: Examples = {}
    for name, network in study.space.networks.items():
        evaluator, show = study.evaluators[name], network.task.examples
        shown = show(evaluator.reference(full=True), reference=True)
        if not shown:
            continue
        shown["float"] = shown.pop("output")
        for design in picked:
            shown[design.id] = show(evaluator.outputs(design.assignments[name], full=True))["output"]
        found[name] = {key: [_encoded(item) for item in items] for key, items in shown.items()}
    return found


def _encoded(item: Example) -> dict[str, str]:
    """An example in JSON: an image array becomes a PNG in base64."""
    if isinstance(item, TextExample):
        return asdict(item)
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(item.image).save(buffer, "PNG")
    return {"label": item.label, "png": base64.b64encode(buffer.getvalue()).decode()}


def _front_csv(study: OpenStudy, found: Accepted, reported: Mapping[int, Design]) -> str:
    """fronts.csv: every design of the front, with objectives, digests of assignments as in trials.csv, and its chip."""
    rows, front, space = [], found.front, study.space
    digests = {
        name: [network.assignment(choice).digest() for choice in study.measured[name].choices]
        for name, network in space.networks.items()
    }
    for i, (accelerator, values) in enumerate(zip(front.accelerator, front.objectives, strict=True)):
        row: dict[str, object] = {
            "reported": reported[i].id if i in reported else "",
            "told_apart": int(found.apart[i]),
        }
        row |= {o.name: float(v) for o, v in zip(space.objectives, values, strict=True)}
        row |= {f"{name}.assignment": known[front.index[name][i]] for name, known in digests.items()}
        rows.append(row | (grid_parameters(space.grid, accelerator) if space.spec.hardware is not None else {}))
    return csv_text(rows)


def _trials_csv(study: OpenStudy) -> str:
    """trials.csv: one row per measured trial in the ledger's order, with a column TASK.LAYER for every layer."""
    rows = []
    for number, record in enumerate(study.ledger.records()):
        row: dict[str, object] = {
            "number": number,
            "proposed_by": record.proposed_by,
            "seconds": f"{record.seconds:.3f}",
        }
        row["state"] = "complete" if record.values else "pruned"  # pruned: its quality is of a subset of the samples
        row |= {o.name: repr(v) for o, v in zip(study.space.objectives, record.values, strict=False)}
        row |= {f"{task}.assignment": digest for task, digest in Candidate.digests(record.key).items()}
        for task, quality in record.quality.items():
            row |= {f"{task}.{quality.metric}.{k}": getattr(quality, k) for k in ("value", "low", "high", "n")}
        row |= record.hardware
        for task, network in study.space.networks.items():
            chosen = (str(network.pairs[c]) for c in record.assignments[task])
            row |= {f"{task}.{layer}": pair for layer, pair in zip(network.layers, chosen, strict=True)}
        rows.append(row)
    return csv_text(rows)
