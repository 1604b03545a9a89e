"""``codesign validate``: checks a search space."""

from __future__ import annotations

import argparse

from codesign.commands.output import print_json
from codesign.commands.progress import WAIT_S, StageProgress
from codesign.search import load_space
from codesign.search.results.check import check_space


def run(arguments: argparse.Namespace) -> int:
    with StageProgress(WAIT_S, silent=arguments.json or arguments.quiet) as progress:
        progress("space", 0, 1, str(arguments.space))
        space = load_space(arguments.space)
        progress("space", 1, 1, str(arguments.space))
        check_space(space, progress)
    counts = {name: len(workload.layers) for name, workload in space.workloads.items()}
    files = {name: str(network.task.file) for name, network in space.networks.items() if network.task.file}
    facts = {
        "valid": True,
        "space": space.spec.name,
        "space_hash": space.space_hash,
        "accelerators": len(space.grid),
        "pairs": len(space.pairs),
        "layers": counts,
        "files": files,
    }
    if arguments.json:
        print_json(facts)
    else:
        layers = ", ".join(f"{name} {count} layers" for name, count in counts.items())
        print(f"{arguments.space}: valid; {facts['accelerators']} accelerators, {facts['pairs']} pairs; {layers}")
        for name, file in files.items():
            print(f"{name}: {space.spec.tasks[name].task} is {file}")
    return 0
