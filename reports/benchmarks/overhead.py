"""Overhead of a study per trial: overhead.json and overhead.md.

    python reports/benchmarks/overhead.py [--cases 100ms,sqlite,postgresql,1 worker,2 workers]

The first three search search_spaces/phone.yaml (two networks of 61 and 41 layers, 16 pairs, 3,400 accelerators) with a
supposed loss in the place of every evaluation: a wait of 100 ms, or nothing, in a worker process. The last two are
real: evaluations that one and two worker processes finish in a second. A case runs in a process of its own, whose
largest memory is noted. PostgreSQL is a server of this machine, on a disk that it waits for.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from codesign.formats import Assignment, LayerFormats
from codesign.quality import Evaluator, Quality
from codesign.quality.trial import COARSE
from codesign.search import load_space, open_study, run_study
from codesign.search.queue.queue import Queue
from codesign.search.queue.storage import default_storage, open_storage
from codesign.search.queue.worker import Worker, until_ended
from codesign.search.space.network import Network
from tests.storage.servers import PostgreSQL, postgresql_tools

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SPACE = ROOT / "search_spaces" / "phone.yaml"
CACHE = ROOT / "reports" / "studies" / "benchmark_evaluations"  # of sensitivities
SUPPOSED = {"100ms": (1_000, 0.1), "sqlite": (10_000, 0.0), "postgresql": (10_000, 0.0)}  # case -> trials, seconds each
REAL = {"1 worker": 1, "2 workers": 2}
_EVALUATIONS = 76  # of a real case: 16 uniform ones and 6 batches


class Supposed(Evaluator):
    """Waits, and says what the sensitivities sum to, off by a factor that the assignment draws."""

    def __init__(self, network: Network, tables: dict[str, np.ndarray], name: str, seconds: float) -> None:
        super().__init__(network.task, cache=CACHE)
        self._network, self._tables, self._name, self._seconds = network, tables, name, seconds

    def __call__(self, assignment: Assignment, *, enough: float | None = None) -> Quality:
        started = time.monotonic()
        if set(assignment.values()) <= {LayerFormats.of_pair(COARSE, attention=a) for a in (False, True)}:
            ruined = self.task.from_raw(1e3)  # what is tried before a study
            return Quality("supposed", "", "minimize", ruined, ruined, ruined, 1)
        table, layers = self._tables[self._name], dict(assignment.layers)
        total = 0.0
        for row, layer in zip(table, self._network.layers, strict=True):
            kind = "attention_qk" if self._network.kinds[layer] == "attention" else "linear"
            total += row[self._network.pairs.index(layers[layer].pair(kind))]
        draw = int(hashlib.sha256(assignment.digest().encode()).hexdigest()[:8], 16) / 2**32
        value = self.task.from_raw(float(total * np.exp(draw - 0.5)))
        time.sleep(max(0.0, self._seconds - (time.monotonic() - started)))
        return Quality("supposed", "", "minimize", value, value, value, 1)


@contextlib.contextmanager
def storage(case: str, folder: Path) -> Iterator[str]:
    """URL of a new storage of the case's kind."""
    if case != "postgresql":
        yield default_storage(folder)
        return
    tools = postgresql_tools()
    if tools is None:
        raise SystemExit("PostgreSQL is not installed: leave out --cases postgresql")
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        server = PostgreSQL(tools, Path(place), durable=True)
        try:
            yield server.database()
        finally:
            server.stop()


def work(url: str, name: str, networks: dict[str, Network], evaluators: dict[str, Evaluator]) -> None:
    """What `codesign worker` does, with networks that are there already."""
    opened = open_storage(url)
    queue = Queue(opened, opened.get_study_id_from_name(name))
    Worker(queue, networks, evaluators).run(until_ended(queue))


def supposed(case: str) -> dict[str, Any]:
    """Wall time a trial beside its evaluation, of a study of the engine's."""
    trials, seconds = SUPPOSED[case]
    space, tables = load_space(SPACE), dict[str, np.ndarray]()
    share = seconds / len(space.networks)
    evaluators = {n: Supposed(network, tables, n, share) for n, network in space.networks.items()}
    with tempfile.TemporaryDirectory() as folder, storage(case, Path(folder)) as url:
        study = open_study(space, Path(folder), storage=url, evaluators=evaluators, workers=0)
        study.tables = tables  # which the evaluators look into
        workers: list[multiprocessing.Process] = []

        def join(stage: str, *_: object) -> None:
            if stage == "evaluations" and not workers:
                arguments = (url, space.spec.name, space.networks, evaluators)
                workers.append(multiprocessing.get_context("fork").Process(target=work, args=arguments))
                workers[0].start()

        run_study(study, evaluations=trials, progress=join)
        workers[0].join()
    wall = study.timings["search"] - study.timings["sensitivities"]
    beside = wall - sum(record.seconds for record in study.ledger.records())
    return {
        "case": case,
        "trials": study.evaluations,
        "evaluation_s": seconds,
        "wall_s": wall,
        "beside_ms_per_trial": 1000 * beside / trials,
        "share_of_wall": beside / wall,
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def real(case: str) -> dict[str, Any]:
    """Evaluations a second, from the first that was begun to the last that was finished."""
    with tempfile.TemporaryDirectory() as folder:
        study = open_study(load_space(SPACE), Path(folder), workers=REAL[case])
        run_study(study, evaluations=_EVALUATIONS)
        trials = study.ledger.study.get_trials(deepcopy=False)
        front = study.front()
    begun, ended = min(t.datetime_start for t in trials), max(t.datetime_complete for t in trials)
    return {
        "case": case,
        "trials": len(trials),
        "wall_s": (ended - begun).total_seconds(),
        "evaluations_per_s": len(trials) / (ended - begun).total_seconds(),
        "evaluation_s": float(np.mean([r.seconds for r in study.ledger.records()])),
        "hypervolume": study.hypervolume(front),
        "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def markdown(records: dict[str, dict[str, Any]]) -> str:
    lines = ["# Overhead of a study per trial", ""]
    lines += ["Written by `python reports/benchmarks/overhead.py`, which says what was measured.", ""]
    lines += ["| case | trials | evaluation | wall | overhead per trial | share of the wall | memory |"]
    lines += ["|" + "---|" * 7]
    for case in SUPPOSED:
        if case in records:
            r = records[case]
            lines.append(
                f"| {case} | {r['trials']:,} | {r['evaluation_s']:g} s | {r['wall_s']:.1f} s "
                f"| {r['beside_ms_per_trial']:.1f} ms | {r['share_of_wall']:.1%} | {r['memory_mib']:.0f} MiB |"
            )
    lines += [
        "",
        "| workers | evaluations | evaluations a second | ratio | an evaluation | memory of the coordinator |",
    ]
    lines += ["|" + "---|" * 6]
    for case in REAL:
        if case in records:
            r = records[case]
            ratio = r["evaluations_per_s"] / records["1 worker"]["evaluations_per_s"]
            lines.append(
                f"| {case} | {r['trials']} | {r['evaluations_per_s']:.2f} | {ratio:.2f} | {r['evaluation_s']:.2f} s "
                f"| {r['memory_mib']:.0f} MiB |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join([*SUPPOSED, *REAL]))
    parser.add_argument("--one", help="measure this case in this process and print it")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(supposed(options.one) if options.one in SUPPOSED else real(options.one)))
        return
    file = HERE / "overhead.json"
    records = json.loads(file.read_text()) if file.exists() else {}
    for case in options.cases.split(","):
        done = subprocess.run([sys.executable, __file__, "--one", case], check=True, stdout=subprocess.PIPE, text=True)
        records[case] = json.loads(done.stdout)
        print(json.dumps(records[case]), file=sys.stderr, flush=True)
        file.write_text(json.dumps(records, indent=1) + "\n")
        (HERE / "overhead.md").write_text(markdown(records))
    print(markdown(records))


if __name__ == "__main__":
    main()
