"""The engine beside Optuna's samplers, and with parts of it taken out, at equal evaluations: search.md.

    python reports/benchmarks/search.py [--spaces phone] [--samplers codesign,nsga2,tpe,random] [--seeds 5]
                                        [--evaluations 1000] [--engine-evaluations 200] [--table]

Runs that search_runs.jsonl holds already are not repeated: the whole comparison takes hours, and may be done in parts.
Ablations are samplers too: no_surrogate (sensitivities, never corrected), no_sensitivities (every layer has the same
share in what a format loses throughout), no_fidelity (every candidate on all samples), linear_losses
(a gain in quality counts by the metric's own value, not by its logarithm).
--table: write the tables from what is there. Every run is `run_study` on real networks; the uniform formats, which all
samplers begin with, count as evaluations. A front is that of all accelerators around the measured assignments, for
every sampler, though Optuna's look at one accelerator a trial: what they measured is used as well as can be.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import optuna
import torch
from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).parent))
from one_at_a_time import one_at_a_time

from codesign.quality.cache import code_version
from codesign.search import OpenStudy, load_space, open_study, run_study
from codesign.search.engine.pareto import hypervolume
from codesign.search.engine.points import Pool
from codesign.search.engine.scale import log_losses
from codesign.search.samplers.engine_strategy import EngineStrategy
from codesign.search.samplers.strategy import Problem
from codesign.search.study.scales import loss_scales

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RUNS = HERE / "search_runs.jsonl"
SPACES = {"phone": ROOT / "search_spaces" / "phone.yaml", "one_network": HERE / "one_network.yaml"}
ENGINES = ("codesign", "linear_losses", "no_surrogate", "no_sensitivities", "no_fidelity")
SAMPLERS = (*ENGINES, "nsga2", "tpe", "random", "one_at_a_time")
_HULL = 290  # evaluations of one_at_a_time
_APART = 0.002  # of reference points
CHECKPOINTS = (50, 100, 150, 200, 300, 500, 1000)


def run(name: str, sampler: str, seed: int, evaluations: int, cache: Path) -> dict[str, Any]:
    """Hypervolume after every batch of one search."""
    torch.set_num_threads(1)
    space = load_space(SPACES[name])
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cached = Path(folder) / "evaluations"
        cached.symlink_to(cache)
        study = open_study(space, Path(folder), seed=seed, storage=optuna.storages.InMemoryStorage())
        if sampler == "one_at_a_time":
            run_study(study, evaluations=len(space.pairs))
            history = one_at_a_time(study, _HULL)
        elif sampler in ENGINES:
            _search(study, sampler, evaluations)
            history = [(int(h["evaluations"]), h["hypervolume"]) for h in study.history]
        else:
            run_study(study, evaluations=evaluations, sampler=sampler, progress=_progress)
            history = [(int(h["evaluations"]), h["hypervolume"]) for h in study.history]
    return {
        "space": name,
        "space_hash": space.space_hash,
        "code_version": code_version(),
        "sampler": sampler,
        "seed": seed,
        "evaluations": history[-1][0],
        "reference_point": study.reference.tolist(),
        "seconds": time.monotonic() - started,
        "given_up": sum(len(m.given_up) for m in study.measured.values()),
        "history": history,
        "log_history": [] if sampler == "one_at_a_time" else log_volumes(study),
    }


def log_volumes(study: OpenStudy) -> list[tuple[int, float]]:
    """Hypervolume after so many evaluations with losses as logarithms: a factor counts the same anywhere."""
    scales, qualities = loss_scales(study), study.space.objectives
    found, records = [], [r for r in study.ledger.records() if r.values]

    def logs(points: np.ndarray) -> np.ndarray:
        scaled = points.copy()
        for k, objective in enumerate(qualities):
            if objective.task is not None and objective.is_quality:
                scaled[..., k] = log_losses(scales[objective.task], points[..., k])
        return scaled

    for count in (n for n in CHECKPOINTS if 0.9 * n <= study.evaluations):
        pools = {}
        for name in study.space.networks:
            known = {tuple(r.assignments[name]): r.quality[name].value for r in records[:count]}
            pools[name] = Pool(np.array(list(known)), np.array(list(known.values())))
        front = study.combiner.front(pools)
        found.append((count, hypervolume(logs(front.objectives), logs(study.reference[None])[0])))
    return found


def _search(study: OpenStudy, engine: str, evaluations: int) -> None:
    """The engine, or one without a part of it."""

    def made(problem: Problem) -> EngineStrategy:
        if engine == "no_sensitivities":
            problem = replace(problem, tables={name: _shared_evenly(study, name) for name in problem.tables})
        return EngineStrategy(
            problem,
            race=engine != "no_fidelity",
            learn=engine != "no_surrogate",
            log_losses=False if engine == "linear_losses" else None,
        )

    run_study(study, evaluations=evaluations, progress=_progress, sampler=made)


def _shared_evenly(study: OpenStudy, name: str) -> np.ndarray:
    """What is known without sensitivities: the uniform designs' losses, from every layer the same."""
    network, measured = study.space.networks[name], study.measured[name]
    table = np.full(network.allowed.shape, np.nan)
    for choice, quality in zip(measured.choices, measured.qualities, strict=True):
        table[np.arange(len(choice)), choice] = network.task.raw(quality.value) / len(choice)
    return np.where(network.allowed, np.where(np.isnan(table), np.nanmax(table), table), np.inf)


def _progress(stage: str, done: int, total: int, _detail: str) -> None:
    if done % 50 == 0:
        print(f"  {stage} {done}/{total}", file=sys.stderr, flush=True)


def known() -> list[dict[str, Any]]:
    return [json.loads(line) for line in RUNS.read_text().splitlines()] if RUNS.exists() else []


def at(record: dict[str, Any], evaluations: int) -> float | None:
    """Hypervolume of a run at so many evaluations: that of its last batch before, None if it is shorter by a tenth."""
    values = [volume for count, volume in record["history"] if count <= evaluations]
    return values[-1] if values and record["history"][-1][0] >= 0.9 * evaluations else None


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval over seeds."""
    if len(values) < 2:
        return f"{values[0]:.5g}" if values else ""
    half = float(student.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return f"{mean(values):.5g} ± {half:.2g}"


def markdown(records: list[dict[str, Any]]) -> str:
    lines = ["# The codesign engine compared with Optuna's samplers", ""]
    lines += ["Written by `python reports/benchmarks/search.py --table`; hypervolume of the front, mean and 95 % "]
    lines[-1] += "interval over seeds, every sampler begins with the uniform formats."
    lines += ["", _same_values(records)]
    for space in dict.fromkeys(r["space"] for r in records):
        mine = [r for r in records if r["space"] == space]
        lines += ["", f"## {space}", "", f"| sampler | seeds | {' | '.join(f'{n} evaluations' for n in CHECKPOINTS)} |"]
        lines += ["|" + "---|" * (2 + len(CHECKPOINTS))]
        for sampler in dict.fromkeys(r["sampler"] for r in mine):
            runs = [r for r in mine if r["sampler"] == sampler]
            cells = [interval([v for r in runs if (v := at(r, n)) is not None]) for n in CHECKPOINTS]
            lines.append(f"| {sampler} | {len(runs)} | {' | '.join(cells)} |")
        lines += ["", *_verdicts(mine), "", *_of_logarithms(mine)]
    return "\n".join(lines) + "\n"


def _of_logarithms(records: list[dict[str, Any]]) -> list[str]:
    """The same runs by the hypervolume of logarithms of losses."""
    counts = [n for n in CHECKPOINTS if any(n in dict(r["log_history"]) for r in records)]
    lines = ["With every loss as its logarithm (costs as they are):", ""]
    lines += [f"| sampler | seeds | {' | '.join(map(str, counts))} |", "|" + "---|" * (2 + len(counts))]
    for sampler in dict.fromkeys(r["sampler"] for r in records if r["log_history"]):
        runs = [dict(r["log_history"]) for r in records if r["sampler"] == sampler]
        cells = [interval([run[n] for run in runs if n in run]) for n in counts]
        lines.append(f"| {sampler} | {len(runs)} | {' | '.join(cells)} |")
    return lines


def _same_values(records: list[dict[str, Any]]) -> str:
    """How far apart the runs' reference points are, which are the uniform designs' as each machine measured them.

    Raises ValueError where that is more than last bits explain.
    """
    apart = 0.0
    for space in {r["space"] for r in records}:
        points = np.array([r["reference_point"] for r in records if r["space"] == space])
        apart = max(apart, float((np.ptp(points, axis=0) / np.abs(points).min(axis=0)).max()))
    if apart > _APART:
        raise ValueError(f"reference points differ by {apart:.2%}: networks measured otherwise, make all runs again")
    if apart < 1e-9:
        return "All runs of a space have the same reference point, of the uniform designs as measured."
    return (
        f"The runs' reference points, from the uniform designs as measured, differ by {apart:.2%} at most: they were "
        "made on machines whose last bits differ."
    )


def _verdicts(records: list[dict[str, Any]]) -> list[str]:
    """The engine's worst run early beside the best run of the others at their end."""
    found = []
    for early in (50, 100):
        mine = [v for r in records if r["sampler"] == "codesign" and (v := at(r, early)) is not None]
        for sampler in dict.fromkeys(r["sampler"] for r in records if r["sampler"] not in ENGINES):
            runs = [r for r in records if r["sampler"] == sampler]
            count, best = max(r["history"][-1][0] for r in runs), max(r["history"][-1][1] for r in runs)
            if mine:
                ratio = min(mine) / best
                found.append(f"- codesign after {early}, its worst seed: {ratio:.3f} of {sampler}'s best after {count}")
        whole = {r["seed"]: v for r in records if r["sampler"] == "codesign" and (v := at(r, early)) is not None}
        for sampler in ENGINES[1:]:
            runs = [r for r in records if r["sampler"] == sampler and r["seed"] in whole and at(r, early)]
            if runs:
                shares = [(at(r, early) or 0.0) / whole[r["seed"]] for r in runs]
                found.append(f"- {sampler} after {early}: {interval(shares)} of codesign with the same seed")
    for sampler in ENGINES:
        runs = [r for r in records if r["sampler"] == sampler]
        if runs:
            counts = sum(r["given_up"] for r in runs), sum(r["evaluations"] for r in runs)
            found.append(f"- {sampler} gave {counts[0]} of {counts[1]} evaluations up on a part of the samples")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", default="phone")
    parser.add_argument("--samplers", default="codesign,nsga2,tpe,random")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="of those to run: parts may run at the same time")
    parser.add_argument("--evaluations", type=int, default=1000)
    parser.add_argument("--engine-evaluations", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=ROOT / "reports" / "studies" / "benchmark_evaluations")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    wanted = [
        (space, sampler, seed)
        for space in options.spaces.split(",")
        for seed in range(options.first_seed, options.seeds)
        for sampler in options.samplers.split(",")
    ]
    for space, sampler, seed in [] if options.table else wanted:
        if any((r["space"], r["sampler"], r["seed"]) == (space, sampler, seed) for r in known()):
            continue
        print(space, sampler, seed, file=sys.stderr, flush=True)
        count = options.engine_evaluations if sampler in ENGINES else options.evaluations
        record = run(space, sampler, seed, count, options.cache)
        with RUNS.open("a") as file:
            file.write(json.dumps(record) + "\n")
    records = sorted(known(), key=lambda r: (r["space"], SAMPLERS.index(r["sampler"]), r["seed"]))
    (HERE / "search.md").write_text(markdown(records))
    print(markdown(records))


if __name__ == "__main__":
    main()
