"""``codesign tune``: trains the weights of a design's networks in its formats, for minutes."""

from __future__ import annotations

import argparse
import sys

from codesign.commands.output import print_json, print_table, say_new_parents
from codesign.commands.progress import StageProgress
from codesign.designs.design import Metric
from codesign.export.study import read_design
from codesign.export.tuned import TUNED, TunedTask, tune_design
from codesign.folders import check_own, entries, mark
from codesign.quality.tuning import Options
from codesign.signals import exit_code

_COMMAND = "tune"


def run(arguments: argparse.Namespace) -> int:
    design = read_design(arguments.study, arguments.design)
    out = arguments.out or arguments.study / "tuned" / design.id
    check_own(out, _COMMAND, (TUNED,))
    if arguments.out:
        say_new_parents(out, "the files")
    seconds = arguments.minutes * 60 if arguments.minutes else None
    options = Options(arguments.steps, seconds, arguments.lr, arguments.seed)
    try:
        with StageProgress(silent=arguments.json or arguments.quiet) as progress:
            found, stopped = tune_design(design, out, options, progress, arguments.task)
    finally:
        if entries(out):
            mark(out, _COMMAND)
    if arguments.json:
        print_json(found.model_dump(mode="json", exclude_none=True))
    else:
        columns = ["network", "metric", "before", "tuned", "unit", "steps", "time"]
        title = f"{found.design} of {found.study}, tuned: on evaluation data, which it was not tuned on"
        print_table(title, columns, [_row(name, each) for name, each in found.tasks.items()])
        print(f"{out}: {TUNED}, and the weights and formats of each network for codesign evaluate --weights")
    if stopped is None:
        return 0
    print("codesign: interrupted; the best weights so far are kept", file=sys.stderr)
    return exit_code(stopped)


def _row(name: str, found: TunedTask) -> list[str]:
    after = _value(found.after) if found.improved else "nothing better was found"
    long = f"{found.seconds:.0f} s"
    return [name, found.after.metric, _value(found.before), after, found.after.unit, str(found.steps), long]


def _value(metric: Metric) -> str:
    return f"{metric.value:.5g} [{metric.low:.5g}, {metric.high:.5g}]"
