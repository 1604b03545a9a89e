"""What a study leaves in its folder: front.json, fronts.csv, trials.csv, details.json, examples.json, space.yaml."""

from __future__ import annotations

import base64
import io
import json
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from codesign.files import csv_text, read_text, write_atomic
from codesign.formats import Assignment
from codesign.search.engine.points import Designs
from codesign.search.results.records import (
    batch_norms,
    design_record,
    dominator,
    front_record,
    layer_table,
    peak_memory_bytes,
)
from codesign.search.space.axes import grid_parameters
from codesign.search.study.acceptance import Accepted, accepted
from codesign.search.study.progress import Progress
from codesign.search.study.representatives import balanced, unit_box
from codesign.search.study.study import Study


def write_results(study: Study, progress: Progress | None = None) -> dict[str, Any]:
    """Measure every metric of the designs to report and write the study folder; returns front.json's content."""
    report = progress or (lambda *_: None)
    started = time.monotonic()
    found = accepted(study, report)
    shown, told = found.front.take(found.rows), found.apart[found.rows]
    apart = np.flatnonzero(told)
    chosen, worst = int(apart[balanced(shown.take(apart))]), _lowest_quality(study, shown)
    designs = []
    for i in range(len(shown)):
        report("metrics", i, len(shown), "")
        more = {"accumulator": found.accumulators[i], "told_apart": bool(told[i])}
        designs.append(_design(study, shown, i, full=True) | more)
    report("metrics", len(shown), len(shown), "")
    baselines = _baselines(study, designs)
    study.timings["metrics"] = time.monotonic() - started
    record = front_record(
        study.space,
        found.front,
        designs,
        seed=study.seed,
        reference=study.reference,
        evaluations=study.evaluations,
    )
    examples = _examples(study, designs, {"chosen": chosen, "worst": worst})
    details = _details(study, designs[chosen]["id"], designs[worst]["id"], baselines)
    details["told_apart"] = int(found.apart.sum())
    folder = study.folder
    write_atomic(folder / "space.yaml", read_text(study.space.path))
    write_atomic(folder / "trials.csv", _trials_csv(study))
    write_atomic(folder / "fronts.csv", _front_csv(study, found, dict(zip(found.rows.tolist(), designs, strict=True))))
    write_atomic(folder / "examples.json", json.dumps(examples))
    write_atomic(folder / "details.json", json.dumps(details, indent=1))
    write_atomic(folder / "front.json", json.dumps(record, indent=1))
    return record


def _lowest_quality(study: Study, front: Designs) -> int:
    columns = [i for i, o in enumerate(study.space.objectives) if o.is_quality]
    return int(unit_box(front.objectives)[:, columns or [0]].sum(axis=1).argmax())


def _design(study: Study, designs: Designs, row: int, *, full: bool) -> dict[str, Any]:
    """The record of one measured design."""
    assignments: dict[str, Assignment] = {}
    quality, metrics = {}, {}
    for name, network in study.space.networks.items():
        index = int(designs.index[name][row])
        assignment = network.assignment(study.measured[name].choices[index])
        assignments[name] = assignment
        measured = study.measured[name].qualities[index]
        fields = ("metric", "unit", "direction", "value", "low", "high", "n")
        quality[name] = {k: getattr(measured, k) for k in fields}
        if full:
            metrics[name] = [q.to_dict() for q in study.evaluators[name].metrics(assignment)]
    return design_record(study.space, int(designs.accelerator[row]), assignments, quality, metrics)


def _baselines(study: Study, designs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each uniform format on each accelerator built for it alone: the best by every objective, and what beats it."""
    space, found = study.space, []
    mixed = [d for d in designs if len(formats_used(d)) > 1]
    for column, pair in enumerate(space.pairs):
        index = {n: i for n in space.networks if (i := _uniform_index(study, n, column)) is not None}
        if len(index) < len(space.networks):
            continue
        alone = 1 if space.spec.hardware is not None else len(space.pairs)  # pairs of the unit
        only = [g for g, s in enumerate(study.combiner.supports) if s[column] and s.sum() == alone]
        if not only:
            continue
        members = [m if g in only else m[:0] for g, m in enumerate(study.combiner.groups)]
        pools = study.pools()
        single = {n: type(pools[n])(pools[n].choices[[i]], pools[n].quality[[i]]) for n, i in index.items()}
        uniform = study.combiner.front(single, members)
        if not len(uniform):
            continue
        index_of = {n: np.full(len(uniform), i) for n, i in index.items()}
        uniform = Designs(uniform.accelerator, index_of, uniform.objectives)
        row = balanced(uniform)
        record = _design(study, uniform, row, full=False)
        every = _share_dominated(study, uniform)
        winner = dominator(record, mixed)
        dominated = winner is not None or every == 1.0
        found.append(
            record
            | {
                "label": f"uniform {pair}",
                "dominated_by": winner,
                "on_front": not dominated,
                "designs": len(uniform),
                "share_dominated": every,
                "note": _why(every, len(uniform), of_chips=space.spec.hardware is not None),
            }
        )
    return found


def _uniform_index(study: Study, name: str, column: int) -> int | None:
    choice = np.full(len(study.space.networks[name].layers), column)
    return next((i for i, c in enumerate(study.measured[name].choices) if (c == choice).all()), None)


def _share_dominated(study: Study, uniform: Designs) -> float:
    """Share of a uniform format's own front that mixed designs of this study dominate."""
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


def formats_used(design: dict[str, Any]) -> set[str]:
    """All format names in a design's assignments."""
    return {f for layers in design["assignments"].values() for formats in layers.values() for f in formats.values()}


def _details(study: Study, chosen: str, worst: str, baselines: list[dict[str, Any]]) -> dict[str, Any]:
    tasks = {}
    for name, network in study.space.networks.items():
        evaluator = study.evaluators[name]
        floats = [{k: v for k, v in asdict(q).items() if "delta" not in k} for q in evaluator.float_metrics()]
        tasks[name] = {
            "metric": network.task.deciding,
            "unit": floats[0]["unit"],
            "batch_norms": batch_norms(network.task),
            "layers": layer_table(network.workload),
            "float": floats,
        }
    return {
        "tasks": tasks,
        "baselines": baselines,
        "chosen": chosen,
        "worst": worst,
        "history": study.history,
        "sensitivities": {n: _sensitivity_table(study, n) for n in study.space.networks},
        "timings": study.timings,
        "hardware_count": len(study.space.grid),
        "log10_designs": study.space.size(),
        "failures": study.failures,
        "sentinels": [s.to_dict() for s in study.sentinels],
        "accumulators": {
            "threshold_db": study.space.spec.accumulator_sqnr_db,
            "layers_measured": len(study.accumulation),
            "designs_refused": study.refused,
        },
        "measured": {n: e.measured for n, e in study.evaluators.items()},
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _sensitivity_table(study: Study, name: str) -> dict[str, dict[str, float]]:
    network, table = study.space.networks[name], study.tables[name]
    return {
        layer: {str(p): float(v) for p, v in zip(network.pairs, row, strict=True) if np.isfinite(v)}
        for layer, row in zip(network.layers, table, strict=True)
    }


def _examples(study: Study, designs: list[dict[str, Any]], picked: dict[str, int]) -> dict[str, Any]:
    """Pictures and texts of the float network, the chosen and the worst design, where a task can show them."""
    found: dict[str, Any] = {}
    for name, network in study.space.networks.items():
        evaluator, show = study.evaluators[name], network.task.examples
        shown = show(evaluator.reference(full=True), reference=True)
        if not shown:
            continue
        shown["float"] = shown.pop("output")
        for index in dict.fromkeys(picked.values()):
            assignment = Assignment.from_dict(designs[index]["assignments"][name])
            shown[designs[index]["id"]] = show(evaluator.outputs(assignment, full=True))["output"]
        found[name] = {key: [_encoded(item) for item in items] for key, items in shown.items()}
    return found


def _encoded(item: dict[str, Any]) -> dict[str, Any]:
    """JSON form of an example: an image array becomes a PNG in base64."""
    if "image" not in item:
        return item
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(item["image"]).save(buffer, "PNG")
    return {"label": item["label"], "png": base64.b64encode(buffer.getvalue()).decode()}


def _front_csv(study: Study, found: Accepted, reported: dict[int, dict[str, Any]]) -> str:
    """Every design of the front: objectives, digests of its assignments as in trials.csv, parameters of its chip."""
    rows, front, space = [], found.front, study.space
    digests = {
        name: [network.assignment(choice).digest() for choice in study.measured[name].choices]
        for name, network in space.networks.items()
    }
    for i, (accelerator, values) in enumerate(zip(front.accelerator, front.objectives, strict=True)):
        row: dict[str, Any] = {
            "reported": reported[i]["id"] if i in reported else "",
            "told_apart": int(found.apart[i]),
        }
        row |= {o.name: float(v) for o, v in zip(space.objectives, values, strict=True)}
        row |= {f"{name}.assignment": known[front.index[name][i]] for name, known in digests.items()}
        rows.append(row | (grid_parameters(space.grid, accelerator) if space.spec.hardware is not None else {}))
    return csv_text(rows)


def _trials_csv(study: Study) -> str:
    """One row per measured trial, in the ledger's order, with the formats of every layer: column TASK.LAYER."""
    rows = []
    for number, record in enumerate(study.ledger.records()):
        row: dict[str, Any] = {"number": number, "proposed_by": record.proposed_by, "seconds": f"{record.seconds:.3f}"}
        row["state"] = "complete" if record.values else "pruned"  # on a part of the samples, of which its quality is
        row |= {o.name: repr(v) for o, v in zip(study.space.objectives, record.values, strict=False)}
        for part in record.key.split("|")[1:]:
            task, _, digest = part.partition("=")
            row[f"{task}.assignment"] = digest
        for task, quality in record.quality.items():
            row |= {f"{task}.{quality['metric']}.{k}": quality[k] for k in ("value", "low", "high", "n")}
        row |= record.hardware
        for task, network in study.space.networks.items():
            chosen = (str(network.pairs[c]) for c in record.assignments[task])
            row |= {f"{task}.{layer}": pair for layer, pair in zip(network.layers, chosen, strict=True)}
        rows.append(row)
    return csv_text(rows)
