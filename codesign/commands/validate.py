"""``codesign validate``: checks a search space."""

from __future__ import annotations

import argparse

from codesign.commands.output import print_json
from codesign.search import load_space
from codesign.search.results.check import check_space


def run(arguments: argparse.Namespace) -> int:
    space = load_space(arguments.space)
    check_space(space)
    counts = {name: len(workload.layers) for name, workload in space.workloads.items()}
    facts = {
        "valid": True,
        "space": space.spec.name,
        "space_hash": space.space_hash,
        "accelerators": len(space.grid),
        "pairs": len(space.pairs),
        "layers": counts,
    }
    if arguments.json:
        print_json(facts)
    else:
        layers = ", ".join(f"{name} {count} layers" for name, count in counts.items())
        print(f"{arguments.space}: valid; {facts['accelerators']} accelerators, {facts['pairs']} pairs; {layers}")
    return 0
