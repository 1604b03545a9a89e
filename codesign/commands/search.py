"""``codesign search``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codesign.commands.output import SearchProgress, print_json
from codesign.report import write_report
from codesign.search import load_space, open_study, run_study, write_results


def run(arguments: argparse.Namespace) -> int:
    space = load_space(arguments.space)
    folder: Path = arguments.out or Path("reports/studies") / space.spec.name
    study = open_study(
        space,
        folder,
        seed=arguments.seed,
        storage=arguments.storage,
        resume=arguments.resume,
        workers=arguments.workers,
    )
    if study.ledger.resumed:
        done = len(study.ledger.records())
        print(f"{folder}: going on with this study, {done} finished evaluations are kept", file=sys.stderr)
    evaluations = arguments.evaluations or space.spec.search.evaluations
    with SearchProgress() as progress:
        run_study(
            study,
            evaluations=evaluations,
            timeout_s=arguments.timeout,
            sampler=arguments.sampler,
            progress=progress,
        )
        record = write_results(study, progress)
    markdown, html = write_report(folder)
    paths = {"front": folder / "front.json", "trials": folder / "trials.csv", "markdown": markdown, "html": html}
    if arguments.json:
        summary = {k: record[k] for k in ("study", "seed", "evaluations", "hypervolume", "front_size")}
        print_json(summary | {"designs": len(record["designs"])} | {k: str(p) for k, p in paths.items()})
    else:
        print(f"{record['evaluations']} evaluations, {record['front_size']} designs on the front, ", end="")
        print(f"{len(record['designs'])} of them reported; hypervolume {record['hypervolume']:.4g}")
        if study.refused:
            limit = space.spec.accumulator_sqnr_db
            print(f"refused: {study.refused} designs, in whose accumulator a layer keeps less than {limit:g} dB")
        for failure in study.failures:
            print(f"failed: {failure}")
        print(f"front:  {paths['front']}")
        print(f"report: {paths['html']}")
    return 0
