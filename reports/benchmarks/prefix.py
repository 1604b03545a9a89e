"""What evaluations of a study have in common: how far each could start from what an earlier one computed.

    python reports/benchmarks/prefix.py STUDY [--out DIR]     # a folder of `codesign search`: prefix.json, prefix.md

Layers are in the order in which they run. Up to the first layer with another choice, a candidate computes what the
other one did: that share of its layers is what an evaluation could leave out at the most, in a network whose layers run
once; in one that runs several times (a sampler's steps), a share of the first time only.
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise, takewhile
from pathlib import Path
from statistics import mean
from typing import Any

import optuna

Choices = tuple[int, ...]


def evaluated(study: Path) -> dict[str, list[Choices]]:
    """The distinct assignments of each task, in the order in which they were asked for."""
    storage = f"sqlite:///{study / 'study.db'}"
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    works = [work if isinstance(work, dict) else json.loads(work) for t in trials if (work := t.user_attrs.get("work"))]
    tasks = works[0]["assignments"]
    return {task: list(dict.fromkeys(tuple(work["assignments"][task]) for work in works)) for task in tasks}


def shared(a: Choices, b: Choices) -> float:
    """Share of the layers before the first that differs."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=True)))) / len(a)


def nearest_before(assignments: list[Choices], reach: int) -> float:
    """Mean over assignments of the largest share in common with one of the `reach` before it."""
    places = range(1, len(assignments))
    return mean(max(shared(assignments[i], a) for a in assignments[max(0, i - reach) : i]) for i in places)


def sorted_rounds(assignments: list[Choices], size: int) -> float:
    """Mean share in common with the one before it, where each `size` of them are sorted by their choices."""
    rounds = [sorted(assignments[i : i + size]) for i in range(0, len(assignments), size)]
    return sum(shared(a, b) for each in rounds for a, b in pairwise(each)) / len(assignments)


def measure(assignments: list[Choices]) -> dict[str, Any]:
    """Shares of one task."""
    return {
        "assignments": len(assignments),
        "layers": len(assignments[0]),
        "any earlier one": nearest_before(assignments, len(assignments)),
        "one of the last 8": nearest_before(assignments, 8),
        "the last one": nearest_before(assignments, 1),
        "rounds of 8, sorted": sorted_rounds(assignments, 8),
        "rounds of 32, sorted": sorted_rounds(assignments, 32),
    }


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """As a table to read."""
    head = list(next(iter(rows.values())))
    lines = [
        "# Layers in common with other evaluations",
        "",
        "Mean share of the layers before the first that differs.",
        "",
    ]
    lines += [f"| task | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for task, row in rows.items():
        cells = (f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "study", type=Path, nargs="?", default=Path("reports/studies/phone"), help="that of `make demo`"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if not (options.study / "study.db").exists():
        print(f"{options.study}: no study; make demo writes one")
        return
    rows = {task: measure(assignments) for task, assignments in evaluated(options.study).items()}
    (options.out / "prefix.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.out / "prefix.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
