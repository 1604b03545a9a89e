"""``codesign evaluate``: measures the quality of one network under an assignment."""

from __future__ import annotations

import argparse

from codesign.commands.output import assignment_for, print_json, print_table
from codesign.commands.progress import WAIT_S, StageProgress
from codesign.commands.values import task_options
from codesign.models import load_task
from codesign.models.preparation import prepared_by
from codesign.quality import Evaluator
from codesign.quality.trial import try_network
from codesign.quality.weights import read_weights
from codesign.terms import DEFAULT_RULE


def run(arguments: argparse.Namespace) -> int:
    with StageProgress(WAIT_S, silent=arguments.json or arguments.quiet) as progress:
        progress("evaluate", 0, 3, "loading the network")
        task = prepared_by(load_task(arguments.task, options=task_options(arguments.set)), arguments.prepare)
        assignment = assignment_for(task.workload(), arguments)
        own = Evaluator(task, ranges=arguments.ranges or DEFAULT_RULE)
        own.check(assignment)
        evaluator = own
        if arguments.weights:
            evaluator = Evaluator(task, ranges=own.ranges, weights=read_weights(arguments.weights))
        progress("evaluate", 1, 3, "running the float network")
        try_network(own)
        progress("evaluate", 2, 3, "measuring the assignment")
        qualities = [evaluator(assignment)] if arguments.quick else evaluator.metrics(assignment)
    if arguments.json:
        other = {"weights": str(arguments.weights)} if arguments.weights else {}
        metrics = [q.to_dict() for q in qualities]
        print_json({"task": task.name, "ranges": evaluator.ranges, **other, "metrics": metrics})
        return 0
    rows = []
    for q in qualities:
        delta = "" if q.delta is None else f"{q.delta:+.4g} [{q.delta_low:+.4g}, {q.delta_high:+.4g}]"
        rows.append([q.metric, f"{q.value:.5g}", f"[{q.low:.5g}, {q.high:.5g}]", q.unit, str(q.n), delta])
    name = f"{task.name} with the weights of {arguments.weights}" if arguments.weights else task.name
    title = f"{name}: decided by {task.deciding}, a loss: smaller is better (ranges: {evaluator.ranges})"
    print_table(title, ["metric", "value", "95 % interval", "unit", "n", "against float (paired)"], rows)
    return 0
