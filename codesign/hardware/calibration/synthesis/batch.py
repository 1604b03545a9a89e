"""Synthesis of many units with yosys in parallel; results are kept in a file, from which a run can be resumed."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from codesign.hardware.calibration.synthesis.yosys import (
    Synthesis,
    SynthesisFailed,
    Tool,
    needed_yosys,
    script_text,
    synthesize,
)

_NETLISTS = ("netlist_json", "netlist_verilog")


@dataclass(frozen=True)
class Job:
    """One unit to synthesise."""

    name: str
    verilog: str
    top: str
    liberty: Path  # a plain-text library (see `write_merged`)
    clock_ps: float
    limit_s: float = 120.0


@dataclass(frozen=True)
class Outcome:
    """A job with its outcome: exactly one of ``synthesis`` and ``failure`` is not None."""

    job: Job
    synthesis: Synthesis | None
    failure: SynthesisFailed | None
    reused: bool = False  # read from results.jsonl


def job_key(job: Job, library_sha256: str) -> str:
    """Hash of everything that the result depends on: Verilog, library, clock and script."""
    parts = (job.verilog, library_sha256, f"{job.clock_ps:g}", script_text(job.top, job.clock_ps))
    return hashlib.sha256("\0".join(parts).encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class SynthesisResult:
    """The result of a job, as a line of results.jsonl."""

    key: str  # `job_key`
    name: str
    clock_ps: float
    limit_s: float  # time limit of the run
    synthesis: Synthesis | None = None  # with paths of netlists relative to the folder of results.jsonl
    reason: str = ""  # of a failure
    log: tuple[str, ...] = ()  # of a failure: the tool's last useful lines

    @classmethod
    def of(cls, key: str, job: Job, synthesis: Synthesis | None, failure: SynthesisFailed | None) -> SynthesisResult:
        if synthesis is not None:
            folder = Path(key[:16])
            synthesis = replace(synthesis, netlist_json=folder / "netlist.json", netlist_verilog=folder / "netlist.v")
        reason, log = ("", ()) if failure is None else (failure.reason, failure.log)
        return cls(key, job.name, job.clock_ps, job.limit_s, synthesis, reason, log)

    @classmethod
    def parse(cls, line: str) -> SynthesisResult:
        """Parse a line; raises ValueError, KeyError or TypeError if it is not a result."""
        row = json.loads(line)
        job = (row["key"], row["name"], row["clock_ps"], row["limit_s"])
        if "synthesis" not in row:
            return cls(*job, reason=row["reason"], log=tuple(row["log"]))
        made = row["synthesis"]
        paths = {name: Path(made[name]) for name in _NETLISTS}
        return cls(*job, Synthesis(**(made | paths)))

    def line(self) -> str:
        row: dict[str, object] = {
            "key": self.key,
            "name": self.name,
            "clock_ps": self.clock_ps,
            "limit_s": self.limit_s,
        }
        if self.synthesis is None:
            return json.dumps(row | {"reason": self.reason, "log": self.log})
        paths = {name: str(getattr(self.synthesis, name)) for name in _NETLISTS}
        return json.dumps(row | {"synthesis": asdict(self.synthesis) | paths})

    def reuse(self, job: Job, workdir: Path) -> Outcome | None:
        """The outcome for a job with the same key; None if it has to be run again."""
        if self.synthesis is not None:
            made = self.synthesis
            found = replace(
                made, netlist_json=workdir / made.netlist_json, netlist_verilog=workdir / made.netlist_verilog
            )
            there = found.netlist_json.exists() and found.netlist_verilog.exists()
            return Outcome(job, found, None, reused=True) if there else None
        if self.reason.startswith("timed out") and self.limit_s >= job.limit_s:
            return Outcome(job, None, SynthesisFailed(job.name, self.reason, self.log), reused=True)
        return None


def synthesize_many(
    jobs: Sequence[Job],
    workdir: Path,
    parallel: int = 2,
    progress: Callable[[Outcome, int, int], None] | None = None,
    tool: Tool | None = None,
) -> list[Outcome]:
    """Synthesise all jobs, ``parallel`` at a time; returns one outcome per job, in order.

    A line is appended to ``workdir/results.jsonl`` when a job ends; a later call reuses results with the same `job_key`
    whose netlists still exist. Failures are run again, except time-outs with the same or a longer limit.
    ``progress(outcome, done, total)`` is called in the calling thread. On Ctrl-C running tools are killed.
    """
    tool = tool or needed_yosys()
    workdir.mkdir(parents=True, exist_ok=True)
    results = workdir / "results.jsonl"
    shas = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in {job.liberty for job in jobs}}
    known = _read(results)
    outcomes: dict[int, Outcome] = {}
    keys = [job_key(job, shas[job.liberty]) for job in jobs]
    todo: dict[str, list[int]] = {}  # jobs with the same key run once
    for index, (job, key) in enumerate(zip(jobs, keys, strict=True)):
        earlier = known[key].reuse(job, workdir) if key in known else None
        if earlier is None:
            todo.setdefault(key, []).append(index)
        else:
            outcomes[index] = earlier
    for done, index in enumerate(sorted(outcomes), 1):
        if progress:
            progress(outcomes[index], done, len(jobs))
    stop = threading.Event()
    with ThreadPoolExecutor(max(1, parallel)) as pool:
        try:
            futures = {
                pool.submit(_tried, jobs[same[0]], workdir / key[:16], tool, stop): key for key, same in todo.items()
            }
            for future in as_completed(futures):
                key = futures[future]
                synthesis, failure = future.result()
                _append(results, SynthesisResult.of(key, jobs[todo[key][0]], synthesis, failure))
                for index in todo[key]:
                    outcomes[index] = Outcome(jobs[index], synthesis, failure)
                    if progress:
                        progress(outcomes[index], len(outcomes), len(jobs))
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [outcomes[index] for index in range(len(jobs))]


def _tried(
    job: Job, folder: Path, tool: Tool, stop: threading.Event
) -> tuple[Synthesis | None, SynthesisFailed | None]:
    """Run one job; exactly one of the two results is not None."""
    try:
        return synthesize(job.verilog, job.top, job.liberty, job.clock_ps, job.limit_s, folder, tool, stop), None
    except SynthesisFailed as failure:
        return None, SynthesisFailed(job.name, failure.reason, failure.log)
    except OSError as error:
        return None, SynthesisFailed(job.name, f"cannot be run ({error.strerror or error})")


def _append(results: Path, result: SynthesisResult) -> None:
    with results.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # an interrupted run left half a line
                file.write(b"\n")
        file.write(result.line().encode("utf-8") + b"\n")


def _read(results: Path) -> dict[str, SynthesisResult]:
    """Key -> its last result; lines truncated by an interruption are skipped."""
    found: dict[str, SynthesisResult] = {}
    if results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            try:
                result = SynthesisResult.parse(line)
            except (ValueError, KeyError, TypeError):
                continue
            found[result.key] = result
    return found
