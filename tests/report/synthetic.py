"""A small study folder with two networks and twelve designs, drawn from seeded random numbers."""

from __future__ import annotations

import base64
import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

from codesign.designs import Candidate
from codesign.formats import Assignment

PAIRS = ["int8:int8", "int4_g32:int8", "fp8_e4m3:fp8_e4m3", "mxfp4:mxfp8_e4m3"]
CHOICES = [*PAIRS, "mxfp4:mxfp8_e4m3+gptq"]
LAYERS = {
    "restore": [("down.0.conv", "conv"), ("down.0.attn", "attention"), ("mid.conv", "conv"), ("up.0.proj", "linear")],
    "rewrite": [("layers.0.q_proj", "linear"), ("layers.0.self_attn", "attention"), ("lm_head", "linear")],
}
METRICS = {
    "restore": [("output_error", "log10 MSE", "minimize"), ("psnr", "dB", "maximize")],
    "rewrite": [("kl_to_float", "nats/token", "minimize"), ("chrf", "", "maximize")],
}
OBJECTIVES = [("restore.quality", ""), ("rewrite.quality", ""), ("area_mm2", "mm2"), ("restore.latency_s", "s")]
DESIGNS = 12


def write_study(folder: Path, seed: int = 0, layer: str | None = None, study: str = "synthetic") -> Path:
    """Write front.json, details.json and examples.json; `layer` renames the first layer of `restore`."""
    names = {task: list(layers) for task, layers in LAYERS.items()}
    if layer is not None:
        names["restore"][0] = (layer, "conv")
    rng = random.Random(seed)
    designs = [_design(rng, f"d{i:08x}", names) for i in range(DESIGNS)]
    for i, design in enumerate(designs):
        assignments = {task: Assignment.from_dict(layers) for task, layers in design["assignments"].items()}
        design["candidate"] = Candidate(i, assignments).key
    front = {
        "schema_version": 2,
        "study": study,
        "created": "2026-01-02T03:04:05+00:00",
        "space_hash": "c0ffee",
        "code_version": "abc123",
        "seed": seed,
        "objectives": [{"name": n, "unit": u, "direction": "minimize"} for n, u in OBJECTIVES],
        "reference_point": [0.0, 3.0, 4.0, 0.1],
        "hypervolume": 1.234,
        "evaluations": 160,
        "front_size": 57,
        "designs": designs,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "front.json").write_text(json.dumps(front))
    (folder / "details.json").write_text(json.dumps(_details(rng, designs, names)))
    (folder / "examples.json").write_text(json.dumps(_examples(designs)))
    return folder


def _formats(kind: str, pair: str) -> dict[str, str]:
    first, second = pair.split(":")
    if kind == "attention":
        return {"activation": second, "key": first, "value": first}
    method = {"method": "gptq"} if first == "mxfp4" else {}
    return {"weight": first, "activation": second} | method


def _design(rng: random.Random, identifier: str, names: dict[str, Any], only: str | None = None) -> dict[str, Any]:
    supported = [only] if only else rng.sample(PAIRS, rng.randint(2, 3))
    metrics, tasks, assignments = {}, {}, {}
    for task, layers in names.items():
        pairs = {name: rng.choice(supported) for name, _ in layers}
        assignments[task] = {name: _formats(kind, pairs[name]) for name, kind in layers}
        metrics[task] = [_metric(rng, *m, deciding=i == 0) for i, m in enumerate(METRICS[task])]
        tasks[task] = _task_cost(rng, layers, pairs, "denoise" if task == "restore" else "decode")
    area = [rng.uniform(0.1, 1.5) for _ in range(3)]
    quality = {
        t: {k: v for k, v in m[0].items() if "delta" not in k and k != "float_value"} for t, m in metrics.items()
    }
    return {
        "id": identifier,
        "objectives": {
            "restore.quality": quality["restore"]["value"],
            "rewrite.quality": quality["rewrite"]["value"],
            "area_mm2": sum(area),
            "restore.latency_s": tasks["restore"]["latency_s"],
        },
        "quality": quality,
        "metrics": metrics,
        "cost": _total_cost(area, tasks),
        "accelerator": {
            "name": f"grid-{identifier}",
            "pairs": supported,
            "accumulator": "auto",
            "dot": 16,
            "rows": rng.choice([4, 8, 16]),
            "columns": rng.choice([4, 8]),
            "sram_bytes": rng.choice([128, 256, 512]) * 1024,
            "dram": "lpddr5x_8533",
            "dram_channels": 1,
            "clock_hz": 1e9,
            "node_nm": 7,
        },
        "assignments": assignments,
        "accumulator": {
            task: {"sqnr_db": rng.uniform(60, 140), "layer": layers[0][0], "accumulator": "aligned25, fp32"}
            for task, layers in names.items()
        },
    }


def _metric(rng: random.Random, metric: str, unit: str, direction: str, *, deciding: bool) -> dict[str, Any]:
    value = -rng.uniform(2, 4) if metric == "output_error" else rng.uniform(0.01, 30)
    paired = None if deciding else -0.25
    return {
        "metric": metric,
        "unit": unit,
        "direction": direction,
        "value": value,
        "low": value - 0.1,
        "high": value + 0.1,
        "n": 32,
        "float_value": None if deciding else value + 0.25,
        "delta": paired,
        "delta_low": paired and paired - 0.1,
        "delta_high": paired and paired + 0.1,
    }


def _task_cost(rng: random.Random, layers: Any, pairs: dict[str, str], phase: str) -> dict[str, Any]:
    rows = [
        {
            "name": name,
            "kind": kind,
            "pair": pairs[name],
            "macs": rng.randint(10**5, 10**8),
            "latency_s": rng.uniform(1e-5, 1e-3),
            "bound": rng.choice(["compute", "sram", "dram"]),
            "energy_j": rng.uniform(1e-6, 1e-4),
            "dram_bytes": float(rng.randint(10**4, 10**6)),
            "utilisation": rng.random(),
        }
        for name, kind in layers
    ]
    latency = sum(r["latency_s"] for r in rows)
    return {
        "parameters": 1_500_000,
        "macs": sum(r["macs"] for r in rows),
        "latency_s": latency,
        "latency_per_pass_s": {phase: latency / 4},
        "energy_j": sum(r["energy_j"] for r in rows),
        "dram_bytes": sum(r["dram_bytes"] for r in rows),
        "dram_capacity_bytes": 2.5e6,
        "weight_bytes": rng.uniform(5e5, 1.5e6),
        "bitops": 6.4e10,
        "layers": rows,
    }


def _total_cost(area: list[float], tasks: dict[str, Any]) -> dict[str, Any]:
    summed = ("latency_s", "energy_j", "dram_bytes", "dram_capacity_bytes", "weight_bytes", "bitops")
    energy = sum(t["energy_j"] for t in tasks.values())
    names = ("mac_array", "sram", "dram_interface")
    return {
        "area_mm2": sum(area),
        "area_low_mm2": sum(area) * 0.6,
        "area_high_mm2": sum(area) * 1.7,
        **{k: sum(t[k] for t in tasks.values()) for k in summed},
        "components": [
            {"name": n, "area_mm2": a, "area_low_mm2": a * 0.6, "area_high_mm2": a * 1.7, "energy_j": energy / 3}
            for n, a in zip(names, area, strict=True)
        ],
        "tasks": tasks,
    }


def _details(rng: random.Random, designs: list[dict[str, Any]], names: dict[str, Any]) -> dict[str, Any]:
    baselines = []
    for i, pair in enumerate(PAIRS):
        beaten = i > 1
        baselines.append(
            _design(rng, f"dfffffff{i}", names, only=pair)
            | {
                "label": f"uniform {pair}",
                "dominated_by": designs[3]["id"] if beaten else None,
                "on_front": not beaten,
                "designs": 5,
                "share_dominated": 1.0 if beaten else 0.4,
                "note": "all 5 of its best designs are dominated" if beaten else "3 of its 5 best stay undominated",
            }
        )
    return {
        "tasks": {
            task: {
                "metric": METRICS[task][0][0],
                "unit": METRICS[task][0][1],
                "layers": [{"name": n, "kind": k, "macs": 10**6 * (i + 1), "parameters": 1000} for i, (n, k) in layers],
                "float": [_metric(rng, *m, deciding=True) for m in METRICS[task]],
            }
            for task, layers in ((t, list(enumerate(ls))) for t, ls in names.items())
        },
        "baselines": baselines,
        "equal_size": [_at_equal_size(baseline, pair) for baseline, pair in zip(baselines, PAIRS, strict=True)],
        "chosen": designs[4]["id"],
        "worst": designs[7]["id"],
        "history": [{"evaluations": 10 * i, "hypervolume": 1 - 0.5**i} for i in range(1, 6)],
        "sensitivities": {t: {n: dict.fromkeys(CHOICES, 1e-4) for n, _ in layers} for t, layers in names.items()},
        "timings": {"search": 30.0},
        "hardware_count": 2048,
        "log10_designs": 88.0,
        "failures": [],
        "accumulators": {"threshold_db": 30.0, "layers_measured": 40, "designs_refused": 3},
        "measured": {"restore": 80, "rewrite": 80},
        "peak_memory_bytes": 10**9,
    }


def _at_equal_size(baseline: dict[str, Any], pair: str) -> dict[str, Any]:
    cost, keys = baseline["cost"], ("area_mm2", "area_low_mm2", "area_high_mm2")
    return {
        "pair": pair,
        "pairs": [pair],
        **{key: cost[key] for key in keys},
        "array_mm2": cost["components"][0]["area_mm2"],
        "array_j": cost["components"][0]["energy_j"],
        **{key: {t: c[key] for t, c in cost["tasks"].items()} for key in ("latency_s", "energy_j")},
        "quality": baseline["quality"],
    }


def write_trials(folder: Path, count: int = 5000) -> None:
    """trials.csv of a long study: the objectives of `count` candidates, some of which were pruned."""
    rng, names = random.Random(1), [name for name, _ in OBJECTIVES]
    rows = [",".join(["number", "state", *names])]
    for number in range(count):
        values = [-rng.uniform(2, 4), rng.uniform(0.01, 30), rng.uniform(0.5, 4), rng.uniform(1e-4, 1e-2)]
        rows.append(",".join([str(number), "complete", *map(repr, values)]))
    rows.append(",".join([str(count), "pruned", *[""] * len(names)]))
    (folder / "trials.csv").write_text("\n".join(rows) + "\n")


def _examples(designs: list[dict[str, Any]]) -> dict[str, Any]:
    shown = ["input", "truth", "float", designs[4]["id"], designs[7]["id"]]
    text = {"source": "send it now", "target": "Could you please send it?"}
    return {
        "restore": {key: [{"label": "deblur 1", "png": _png(40 * i)}] for i, key in enumerate(shown)},
        "rewrite": {key: [text | {"text": f"Could you send it, {key}?"}] for key in shown[2:]},
    }


def _png(grey: int, size: int = 8) -> str:
    """A grey square, as base64 of a PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes([grey]) * size) * size)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()
