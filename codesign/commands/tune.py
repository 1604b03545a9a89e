"""``codesign tune``: trains the weights of a design's networks in its formats, for minutes."""

from __future__ import annotations

import argparse

from codesign.commands.output import print_json, print_table, say_new_parents
from codesign.commands.progress import StageProgress
from codesign.designs.design import Metric
from codesign.export.study import read_design
from codesign.export.tuned import TUNED, tune_design
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
        with StageProgress(silent=arguments.json) as progress:
            found, stopped = tune_design(design, out, options, progress, arguments.task)
    finally:
        if entries(out):
            mark(out, _COMMAND)
    if arguments.json:
        print_json(found.model_dump(mode="json", exclude_none=True))
    else:
        columns = ["network", "metric", "before", "tuned", "unit", "steps", "time"]
        rows = [
            [name, each.after.metric, _value(each.before), _tuned(each.after, each.improved), each.after.unit]
            + [str(each.steps), f"{each.seconds:.0f} s"]
            for name, each in found.tasks.items()
        ]
        print_table(
            f"{found.design} of {found.study}, tuned: on evaluation data, which it was not tuned on", columns, rows
        )
        print(f"{out}: {TUNED}, and the weights and formats of each network for codesign evaluate --weights")
    return 0 if stopped is None else exit_code(stopped)


def _value(metric: Metric) -> str:
    return f"{metric.value:.5g} [{metric.low:.5g}, {metric.high:.5g}]"


def _tuned(metric: Metric, improved: bool) -> str:
    return _value(metric) if improved else "nothing better was found"
