"""Writing a study's folder: front.json, fronts.csv, trials.csv, details.json, examples.json and space.yaml."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict

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
    save_study,
)
from codesign.designs.folder import Examples
from codesign.designs.record import FloatMetric, ProgressPoint, SentinelRecord
from codesign.files import csv_text, read_text
from codesign.models import Example, TextExample
from codesign.search.engine.points import Designs
from codesign.search.queue.storage import settle
from codesign.search.results.baselines import baselines
from codesign.search.results.equal_size import at_equal_size
from codesign.search.results.measured import measured_design
from codesign.search.results.records import batch_norms, front_of, layer_table, peak_memory_bytes
from codesign.search.space.axes import grid_parameters
from codesign.search.study.acceptance import Accepted, accepted
from codesign.search.study.progress import Progress
from codesign.search.study.replay import current_values
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
        designs.append(measured_design(study, shown, i, found.accumulators[i], told_apart=bool(told[i]), full=True))
    report("metrics", len(shown), len(shown), "")
    found_baselines = baselines(study, designs)
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
    record = _record(study, found, designs[chosen].id, designs[worst].id, found_baselines)
    chip = study.space.grid[int(shown.accelerator[chosen])]
    record = record.model_copy(update={"equal_size": at_equal_size(study, chip)})
    written = Study(study.folder, front, record, examples)
    reported = dict(zip(found.rows.tolist(), designs, strict=True))
    tables = {"trials.csv": _trials_csv(study), "fronts.csv": _front_csv(study, found, reported)}
    save_study(written, read_text(study.space.path), tables)
    settle(study.ledger.storage)
    return written


def _lowest_quality(study: OpenStudy, front: Designs) -> int:
    columns = [i for i, o in enumerate(study.space.objectives) if o.is_quality]
    return int(unit_box(front.objectives)[:, columns or [0]].sum(axis=1).argmax())


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
        shared_samples=network.task.shared_samples(),
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
        shown = show(evaluator.reference(full=True)[0], reference=True)
        if not shown:
            continue
        shown["float"] = shown.pop("output")
        for design in picked:
            outputs = next(evaluator.batches(design.assignments[name], full=True))
            shown[design.id] = show(outputs)["output"]
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
    rows, records = [], study.ledger.records()
    priced = iter(current_values(study, [record for record in records if record.values]))
    for number, record in enumerate(records):
        row: dict[str, object] = {
            "number": number,
            "proposed_by": record.proposed_by,
            "seconds": f"{record.seconds:.3f}",
        }
        row["state"] = "complete" if record.values else "pruned"  # pruned: its quality is of a subset of the samples
        if record.values:
            values = next(priced)
            row |= {o.name: repr(float(v)) for o, v in zip(study.space.objectives, values, strict=True)}
        row |= {f"{task}.assignment": digest for task, digest in Candidate.digests(record.key).items()}
        for task, quality in record.quality.items():
            row |= {f"{task}.{quality.metric}.{k}": getattr(quality, k) for k in ("value", "low", "high", "n")}
        row |= record.hardware
        for task, network in study.space.networks.items():
            chosen = (str(network.pairs[c]) for c in record.assignments[task])
            row |= {f"{task}.{layer}": pair for layer, pair in zip(network.layers, chosen, strict=True)}
        rows.append(row)
    return csv_text(rows)
