"""``codesign check``: shows what is made of a network before a study measures it."""

from __future__ import annotations

import argparse

from codesign.commands.output import human, print_json, print_table
from codesign.commands.values import task_options
from codesign.models import load_task
from codesign.quality.forecast import forecast
from codesign.search.results.records import layer_table


def run(arguments: argparse.Namespace) -> int:
    task = load_task(arguments.task, options=task_options(arguments.set))
    workload = task.workload()
    layers, found = layer_table(workload), forecast(task, workload)
    if arguments.json:
        facts = {"task": task.name, "metric": task.deciding, "unit": task.unit, "phases": workload.repeats}
        listed = [layer.model_dump() for layer in layers]
        print_json(facts | {"layers": listed, "unread": dict(workload.unread), "forecast": found.to_dict()})
        return 0
    rows = [[layer.name, layer.kind, human(layer.macs), human(layer.parameters)] for layer in layers]
    print_table(f"{task.name}: {len(rows)} layers", ["layer", "kind", "MACs", "parameters"], rows)
    if workload.unread:
        unread = [[name, human(count)] for name, count in workload.unread]
        print_table("weights that no product reads, which stay as they are", ["weight", "elements"], unread)
    phases = ", ".join(f"{count} x {phase}" for phase, count in workload.repeats.items())
    memory = [
        ["float weights", human(found.weight_bytes, "B")],
        ["quantized weights, at the most", human(found.kept_bytes, "B")],
        ["float outputs", human(found.output_bytes, "B")],
        ["activations of a batch", human(found.live_bytes, "B")],
        ["quantized operands of one layer", human(found.room_bytes, "B")],
    ]
    print_table(f"memory of an evaluation, about {human(found.memory_bytes, 'B')}", ["of", "bytes"], memory)
    print(
        f"Work of one result: {phases}. Batches to evaluate: {found.batches}; a float batch took "
        f"{found.batch_s:.2g} s here, an evaluation will take about {found.evaluation_s:.2g} s.\n"
        f"Quality is {task.deciding}{f' in {task.unit}' if task.unit else ''}, a loss: smaller is better."
    )
    return 0
