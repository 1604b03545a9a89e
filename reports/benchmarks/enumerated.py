"""Samplers on a problem whose every design was measured (enumerated_problem/): enumerated.json and enumerated.md.

    python reports/benchmarks/enumerated.py [--samplers codesign,nsga2,tpe,random] [--seeds 5] [--share 0.03]

78,125 assignments of a trained network of seven layers, five formats each, on 50 accelerators: the true front is known.
A search looks its measurements up in truth.npz, so a run takes seconds; everything else is `run_study`, and its
sensitivities are taken of the network itself. A sampler of your own: import `runs` and give it one of Optuna's kind.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna

sys.path.insert(0, str(Path(__file__).parent / "enumerated_problem"))
import measure

from codesign.formats import Assignment
from codesign.quality import Evaluator, Quality, UnmeasurableError
from codesign.quality.trial import COARSE
from codesign.search import SearchSpace, open_study, run_study
from codesign.search.engine.pareto import hypervolume
from codesign.search.engine.points import Pool

HERE = Path(__file__).parent
CHECKPOINTS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.03)


class LookedUp(Evaluator):
    """Reads an assignment's quality from truth.npz and counts what it was asked for."""

    def __init__(self, space: SearchSpace, truth: np.ndarray) -> None:
        (network,) = space.networks.values()
        super().__init__(network.task)
        self._pairs = {str(pair): i for i, pair in enumerate(network.pairs)}
        self._truth, self._metric = truth, super().__call__(network.assignment(np.zeros(len(network.layers), int)))
        self._layers = network.layers
        self.asked: set[int] = set()

    def __call__(self, assignment: Assignment) -> Quality:
        layers, kinds = dict(assignment.layers), self.layers
        names = [_pair(layers[layer], kinds[layer]) for layer in self._layers]
        if set(names) == {str(COARSE)}:
            return super().__call__(assignment)  # what is tried before a study
        digits = [self._pairs[name] for name in names]
        row = int(np.ravel_multi_index(digits, (len(self._pairs),) * len(digits)))
        self.asked.add(row)
        value = float(self._truth[row])
        if not np.isfinite(value):
            raise UnmeasurableError(f"{self._metric.metric} is {value}")
        return Quality(self._metric.metric, self._metric.unit, self._metric.direction, value, value, value, 1)


def _pair(formats: Any, kind: str) -> str:
    return str(formats.pair("attention_qk" if kind == "attention" else "linear"))


def truth() -> tuple[SearchSpace, np.ndarray]:
    """The problem, and the quality of every assignment; refuses one that is another problem's."""
    space, stored = measure.load(), np.load(measure.TRUTH)
    if str(stored["space_hash"]) != space.space_hash:
        raise SystemExit(f"{measure.TRUTH} is of another space: run enumerated_problem/measure.py")
    return space, stored["quality"]


def runs(sampler: str | optuna.samplers.BaseSampler, seed: int, evaluations: int) -> dict[str, Any]:
    """Share of the true hypervolume after so many evaluations, by what was measured until then."""
    space, quality = truth()
    evaluator = LookedUp(space, quality)
    with tempfile.TemporaryDirectory() as folder:
        storage, (name,) = optuna.storages.InMemoryStorage(), space.networks
        study = open_study(space, Path(folder), seed=seed, storage=storage, evaluators={name: evaluator})
        started = time.monotonic()
        run_study(study, evaluations=evaluations, sampler=sampler)
        seconds = time.monotonic() - started
    finite = np.isfinite(quality)
    best = study.combiner.front({name: Pool(measure.choices(space)[finite], quality[finite])})
    whole = hypervolume(best.objectives, study.reference)
    pool = study.measured[name].pool()
    found = []
    for share in CHECKPOINTS:
        count = min(round(share * len(quality)), len(pool.choices))
        front = study.combiner.front({name: Pool(pool.choices[:count], pool.quality[:count])})
        found.append([count, hypervolume(front.objectives, study.reference) / whole])
    return {
        "sampler": sampler if isinstance(sampler, str) else type(sampler).__name__,
        "seed": seed,
        "assignments": len(evaluator.asked),
        "true_front": len(best),
        "share_of_hypervolume": found,
        "seconds": seconds,
    }


def markdown(records: list[dict[str, Any]]) -> str:
    lines = ["# Samplers on the enumerated problem", ""]
    lines += [
        "Written by `python reports/benchmarks/enumerated.py`: 78,125 assignments on 50 accelerators, all of them "
        f"measured; the true front has {records[0]['true_front']} designs. Share of its hypervolume after a share of "
        "the assignments, worst of the seeds (and their mean)."
    ]
    heads = [f"{share:.2%}" for share in CHECKPOINTS]
    lines += ["", f"| sampler | seeds | {' | '.join(heads)} |", "|" + "---|" * (2 + len(heads))]
    for sampler in dict.fromkeys(r["sampler"] for r in records):
        table = np.array([[v for _, v in r["share_of_hypervolume"]] for r in records if r["sampler"] == sampler])
        cells = [f"{low:.4f} ({mean:.4f})" for low, mean in zip(table.min(axis=0), table.mean(axis=0), strict=True)]
        lines.append(f"| {sampler} | {len(table)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", default="codesign,nsga2,tpe,random")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=CHECKPOINTS[-1], help="of all assignments that are evaluated")
    options = parser.parse_args()
    records = []
    for sampler in options.samplers.split(","):
        for seed in range(options.seeds):
            records.append(runs(sampler, seed, round(options.share * len(truth()[1]))))
            print(json.dumps(records[-1]), file=sys.stderr, flush=True)
    (HERE / "enumerated.json").write_text(json.dumps(records, indent=1) + "\n")
    (HERE / "enumerated.md").write_text(markdown(records))
    print(markdown(records))


if __name__ == "__main__":
    main()
