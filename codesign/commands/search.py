"""``codesign search``: searches formats and hardware, and writes the front and the report."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from codesign.commands.output import print_json, print_table, say_new_parents
from codesign.commands.progress import StageProgress
from codesign.designs import Study, earlier
from codesign.errors import InputError
from codesign.report import write_report
from codesign.report.dashboard import write_notes
from codesign.report.front_table import front_table
from codesign.search import SearchSpace, load_space, open_study, run_study, run_sweep, write_results, write_sweep
from codesign.search.api import STUDIES
from codesign.search.queue.storage import settle
from codesign.search.queue.workers import STORAGE_VARIABLE
from codesign.search.results.records import batch_norms
from codesign.search.results.words import SHARED, UNFOLDED
from codesign.search.study.claim import check_folder

# options that control measurements, with their defaults
_MEASURING = {
    "evaluations": None,
    "timeout": None,
    "sampler": "codesign",
    "storage": None,
    "resume": False,
    "workers": 1,
    "ranges": None,
}


def run(arguments: argparse.Namespace) -> int:
    space = load_space(arguments.space, ranges=arguments.ranges)
    folder: Path = arguments.out or STUDIES / space.spec.name
    storage = arguments.storage or os.environ.get(STORAGE_VARIABLE)
    check_folder(folder, space, None if space.fixed else storage)
    say_new_parents(folder, "the study")
    before = earlier(folder)
    if space.fixed:
        return _sweep(space, folder, arguments, before)
    study = open_study(
        space,
        folder,
        seed=arguments.seed,
        storage=storage,
        resume=arguments.resume,
        workers=arguments.workers,
    )
    if study.ledger.resumed and not arguments.quiet:
        done = len(study.ledger.records())
        print(f"{folder}: resuming this study with {done} finished evaluations", file=sys.stderr)
    evaluations = arguments.evaluations or space.spec.search.evaluations
    try:
        with StageProgress(silent=arguments.quiet) as progress:
            run_study(
                study,
                evaluations=evaluations,
                timeout_s=arguments.timeout,
                sampler=arguments.sampler,
                progress=progress,
            )
            written = write_results(study, progress)
    finally:
        settle(study.ledger.storage)
    said = [
        f"{name}: {UNFOLDED.format(count)}"
        for name, network in space.networks.items()
        if (count := batch_norms(network.task))
    ]
    said += [
        f"{name}: {SHARED.format(count)}"
        for name, network in space.networks.items()
        if (count := network.task.shared_samples())
    ]
    if study.refused:
        limit = space.spec.accumulator_sqnr_db
        said.append(f"refused: {study.refused} designs with a layer below {limit:g} dB in their accumulator")
    if study.evaluations < evaluations:
        said.append(f"ended: {study.evaluations} evaluations of {evaluations}: {study.ended}")
    if study.priced_anew:
        said.append("prices: the cost model has changed since; all that was measured is priced anew")
    said += [f"sentinel: {s.task}: {s.before:.6g} -> {s.now:.6g}" for s in study.sentinels if s.moved != "no"]
    said += [f"failed: {failure}" for failure in study.failures]
    said += _kept(folder, before)
    _tell(
        arguments, written, f"{written.front.evaluations} evaluations", {"trials": folder / "trials.csv"}, folder, said
    )
    write_notes(folder, study.ledger.storage)
    settle(study.ledger.storage)
    return 0


def _kept(folder: Path, before: Sequence[Path]) -> list[str]:
    """What is said of the front that this run has replaced."""
    return [f"earlier: the front of before is in {front}" for front in earlier(folder) if front not in before]


def _sweep(space: SearchSpace, folder: Path, arguments: argparse.Namespace, before: Sequence[Path]) -> int:
    """Price every accelerator of a space with given formats."""
    for option, default in _MEASURING.items():
        if getattr(arguments, option) != default:
            raise InputError(
                f"--{option} goes with measured tasks: {arguments.space} gives all formats, and its accelerators are "
                "priced at once"
            )
    with StageProgress(silent=arguments.quiet) as progress:
        found = run_sweep(space, folder, seed=arguments.seed, progress=progress)
        written = write_sweep(found, progress)
    work = f"{len(space.grid):,} accelerators, {found.priced:,} designs priced in {found.seconds:.1f} s"
    _tell(arguments, written, work, {"fronts": folder / "fronts.csv"}, folder, _kept(folder, before))
    return 0


def _tell(
    arguments: argparse.Namespace,
    written: Study,
    work: str,
    paths: dict[str, Path],
    folder: Path,
    said: list[str],
) -> None:
    """Write the report and print a summary."""
    front, (markdown, html) = written.front, write_report(folder)
    paths = {"front": folder / "front.json"} | paths | {"markdown": markdown, "html": html}
    if arguments.json:
        summary = {k: getattr(front, k) for k in ("study", "seed", "evaluations", "hypervolume", "front_size")}
        facts = {"designs": len(front)} | ({"said": said} if said else {})
        print_json(summary | facts | {k: str(p) for k, p in paths.items()})
        return
    if arguments.quiet:
        print("\n".join([*said, str(paths["front"]), str(html)]))
        return
    print(f"{work}, {front.front_size:,} designs on the front, ", end="")
    print(f"{len(front)} of them reported; hypervolume {front.hypervolume:.4g}\n")
    print_table(*front_table(written))
    print("\n".join([*said, f"front:  {paths['front']}", f"report: {html}", _next(written, folder)]))


def _next(written: Study, folder: Path) -> str:
    """What to do with a finished study, in one line."""
    if written.measured:
        take = f"codesign export {shlex.quote(str(folder))} --design {written.chosen.id} --to assignment -o OUT"
        return f"next: open the report, choose a design, take it: {take}"
    chip = written.chosen.accelerator  # of given formats: there is no network to export, but a unit to build
    take = f"codesign rtl {' '.join(map(str, chip.pairs))} --dot {chip.dot} -o OUT"
    return f"next: open the report, choose a chip, build its unit: {take}"
