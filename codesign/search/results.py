"""What a study leaves in its folder: front.json, trials.csv, details.json, examples.json, space.yaml."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import resource
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from codesign.files import csv_text, read_text, write_atomic
from codesign.formats import Assignment
from codesign.hardware import cost
from codesign.quality.cache import code_version
from codesign.search.acceptance import accepted
from codesign.search.combine import Designs
from codesign.search.objectives import TASK_FIELDS, TOTAL_FIELDS, objective_value
from codesign.search.pareto import Coverage, hypervolume, nondominated
from codesign.search.study import Progress, Study

SCHEMA_VERSION = 1


def write_results(study: Study, progress: Progress | None = None) -> dict[str, Any]:
    """Measure every metric of the designs to report and write the study folder; returns front.json's content."""
    report = progress or (lambda *_: None)
    started = time.monotonic()
    front, shown, accumulators = accepted(study, _representatives, report)
    chosen, worst = _balanced(shown), _lowest_quality(study, shown)
    designs = []
    for i in range(len(shown)):
        report("metrics", i, len(shown), "")
        designs.append(_design(study, shown, i, full=True) | {"accumulator": accumulators[i]})
    report("metrics", len(shown), len(shown), "")
    baselines = _baselines(study, designs)
    study.timings["metrics"] = time.monotonic() - started
    record = {
        "schema_version": SCHEMA_VERSION,
        "study": study.space.spec.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "space_hash": study.space.space_hash,
        "code_version": code_version(),
        "seed": study.seed,
        "objectives": [o.to_dict() for o in study.space.objectives],
        "reference_point": [float(v) for v in study.reference],
        "hypervolume": study.hypervolume(front),
        "evaluations": study.evaluations,
        "front_size": len(front),
        "designs": designs,
    }
    examples = _examples(study, designs, {"chosen": chosen, "worst": worst})
    details = _details(study, designs[chosen]["id"], designs[worst]["id"], baselines)
    folder = study.folder
    write_atomic(folder / "space.yaml", read_text(study.space.path))
    write_atomic(folder / "trials.csv", _trials_csv(study))
    write_atomic(folder / "examples.json", json.dumps(examples))
    write_atomic(folder / "details.json", json.dumps(details, indent=1))
    write_atomic(folder / "front.json", json.dumps(record, indent=1))
    return record


def _representatives(study: Study, front: Designs) -> Designs:
    """At most `front_size` designs of the front: the best of each objective, then greedily by volume."""
    limit = study.space.spec.search.front_size
    if len(front) <= limit:
        return front
    points = _unit_box(front.objectives)
    extremes = list(dict.fromkeys(int(i) for i in front.objectives.argmin(axis=0)))
    coverage = Coverage(np.zeros(points.shape[1]), np.full(points.shape[1], 1.05), seed=study.seed)
    coverage.add(points[extremes])
    rest = [i for i in coverage.choose(points, limit - len(extremes)) if i not in extremes]
    return front.take(np.sort(np.array(extremes + rest)))


def _unit_box(points: np.ndarray) -> np.ndarray:
    """Ranks the objectives on one footing: each scaled to 0..1 over the front, positive spans by logarithm."""
    logs = np.where((points > 0).all(axis=0), np.log(np.maximum(points, 1e-300)), points)
    low, high = logs.min(axis=0), logs.max(axis=0)
    return np.asarray((logs - low) / np.maximum(high - low, 1e-12))


def _balanced(front: Designs) -> int:
    """The design closest to the ideal corner of the front (least sum of squares on the unit box)."""
    return int(np.square(_unit_box(front.objectives)).sum(axis=1).argmin())


def _lowest_quality(study: Study, front: Designs) -> int:
    columns = [i for i, o in enumerate(study.space.objectives) if o.is_quality]
    return int(_unit_box(front.objectives)[:, columns or [0]].sum(axis=1).argmax())


def _design(study: Study, designs: Designs, row: int, *, full: bool) -> dict[str, Any]:
    """The record of one design, its cost computed by the scalar model from its named parts."""
    space = study.space
    accelerator = space.grid[int(designs.accelerator[row])]
    assignments: dict[str, Assignment] = {}
    quality, metrics, tasks = {}, {}, {}
    for name, network in space.networks.items():
        index = int(designs.index[name][row])
        assignment = network.assignment(study.measured[name].choices[index])
        assignments[name] = assignment
        measured = study.measured[name].qualities[index]
        fields = ("metric", "unit", "direction", "value", "low", "high", "n")
        quality[name] = {k: getattr(measured, k) for k in fields}
        if full:
            metrics[name] = [q.to_dict() for q in study.evaluators[name].metrics(assignment)]
        tasks[name] = cost(network.workload, accelerator, assignment).to_dict()
    totals = _totals(tasks)
    values = {o.name: objective_value(o, {n: q["value"] for n, q in quality.items()}, totals) for o in space.objectives}
    record = {
        "id": "",
        "objectives": values,
        "quality": quality,
        "metrics": metrics,
        "cost": totals,
        "accelerator": accelerator.to_dict(),
        "assignments": {n: a.to_dict() for n, a in assignments.items()},
    }
    record["id"] = _design_id(record)
    return record


def _design_id(record: dict[str, Any]) -> str:
    text = json.dumps([record["accelerator"], record["assignments"]], sort_keys=True)
    return "d" + hashlib.sha256(text.encode()).hexdigest()[:8]


def _totals(tasks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Cost of the whole design: the chip once, everything else summed over the networks."""
    first = next(iter(tasks.values()))
    shared = ("area_mm2", "area_low_mm2", "area_high_mm2")
    total: dict[str, Any] = {k: first[k] for k in shared if k in first}
    for field in TOTAL_FIELDS:
        if field != "area_mm2":
            total[field] = sum(record[field] for record in tasks.values())
    energy: dict[str, float] = {}
    for record in tasks.values():
        for part in record["components"]:
            energy[part["name"]] = energy.get(part["name"], 0.0) + part["energy_j"]
    total["components"] = [{**part, "energy_j": energy[part["name"]]} for part in first["components"]]
    keep = ("parameters", "macs", "latency_per_pass_s", "layers", *TASK_FIELDS)
    total["tasks"] = {n: {k: r[k] for k in keep if k in r} for n, r in tasks.items()}
    return total


def _baselines(study: Study, designs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each uniform format on each accelerator built for it alone: the best by every objective, and what beats it."""
    space, found = study.space, []
    shown = np.array([list(d["objectives"].values()) for d in designs])
    mixed = np.array([len(formats_used(d)) > 1 for d in designs])
    for column, pair in enumerate(space.pairs):
        index = {n: i for n in space.networks if (i := _uniform_index(study, n, column)) is not None}
        if len(index) < len(space.networks):
            continue
        only = [g for g, s in enumerate(study.combiner.supports) if s[column] and s.sum() == 1]
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
        row = _balanced(uniform)
        record = _design(study, uniform, row, full=False)
        values = np.array(list(record["objectives"].values()))
        beats = mixed & (shown <= values).all(axis=1) & (shown < values).any(axis=1) if len(shown) else mixed
        every = _share_dominated(study, uniform)
        winner = designs[int(np.flatnonzero(beats)[0])]["id"] if beats.any() else None
        dominated = winner is not None or every == 1.0
        found.append(
            record
            | {
                "label": f"uniform {pair}",
                "dominated_by": winner,
                "on_front": not dominated,
                "designs": len(uniform),
                "share_dominated": every,
                "note": _why(every, len(uniform)),
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


def _why(share: float, count: int) -> str:
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
        macs: dict[str, int] = dict.fromkeys(network.layers, 0)
        parameters: dict[str, int] = dict.fromkeys(network.layers, 0)
        for op in network.workload.operators:
            macs[op.layer] += op.macs * network.workload.repeats.get(op.phase, 1)
            parameters[op.layer] = max(parameters[op.layer], op.weight_elements)
        floats = [{k: v for k, v in asdict(q).items() if "delta" not in k} for q in evaluator.float_metrics()]
        tasks[name] = {
            "metric": network.task.deciding,
            "unit": floats[0]["unit"],
            "layers": [
                {"name": la, "kind": network.kinds[la], "macs": macs[la], "parameters": parameters[la]}
                for la in network.layers
            ],
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
        "accumulators": {
            "threshold_db": study.space.spec.accumulator_sqnr_db,
            "layers_measured": len(study.accumulation),
            "designs_refused": study.refused,
        },
        "measured": {n: e.measured for n, e in study.evaluators.items()},
        "peak_memory_bytes": _peak_memory_bytes(),
    }


def _peak_memory_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


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


def _trials_csv(study: Study) -> str:
    """One row per measured trial, in the ledger's order."""
    rows = []
    for number, record in enumerate(study.ledger.records()):
        row: dict[str, Any] = {"number": number, "proposed_by": record.proposed_by, "seconds": f"{record.seconds:.3f}"}
        row |= {o.name: repr(v) for o, v in zip(study.space.objectives, record.values, strict=True)}
        for part in record.key.split("|")[1:]:
            task, _, digest = part.partition("=")
            row[f"{task}.assignment"] = digest
        for task, quality in record.quality.items():
            row |= {f"{task}.{quality['metric']}.{k}": quality[k] for k in ("value", "low", "high", "n")}
        rows.append(row | record.hardware)
    return csv_text(rows)


__all__ = ["SCHEMA_VERSION", "formats_used", "hypervolume", "nondominated", "write_results"]
