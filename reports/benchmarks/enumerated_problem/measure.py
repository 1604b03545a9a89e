"""Measures every assignment of the enumerated problem: truth.npz, about ten minutes on one core.

    python reports/benchmarks/enumerated_problem/measure.py [--processes 2]

quality: float64 [78125], the deciding metric of assignment i, whose pairs are the digits of i in base 5, the first
layer's the highest. space_hash and code_version say of what.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import torch

from codesign.quality import Evaluator
from codesign.quality.cache import code_version
from codesign.search import SearchSpace, load_space

HERE = Path(__file__).parent
TRUTH = HERE / "truth.npz"
_CHUNK = 625


def load() -> SearchSpace:
    return load_space(HERE / "space.yaml")


def choices(space: SearchSpace) -> np.ndarray:
    """Every assignment, int [5 ** 7, 7]."""
    layers, pairs = next(iter(space.networks.values())).allowed.shape
    return np.stack(np.unravel_index(np.arange(pairs**layers), (pairs,) * layers), axis=1)


def measured(start: int) -> np.ndarray:
    """Quality of a chunk of assignments."""
    torch.set_num_threads(1)
    network = next(iter(load().networks.values()))
    evaluator = Evaluator(network.task)
    rows = choices(load())[start : start + _CHUNK]
    return np.array([evaluator(network.assignment(row)).value for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    space, parts = load(), []
    starts = range(0, len(choices(space)), _CHUNK)
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for part in pool.imap(measured, starts):
            parts.append(part)
            print(f"{len(parts)}/{len(starts)}", file=sys.stderr, end="\r")
    np.savez_compressed(TRUTH, quality=np.concatenate(parts), space_hash=space.space_hash, code_version=code_version())
    print(f"{TRUTH}: {sum(map(len, parts)):,} assignments")


if __name__ == "__main__":
    main()
