"""``codesign export``: writes a design for another tool."""

from __future__ import annotations

import argparse

from codesign.commands.output import own_folder, print_json
from codesign.commands.progress import WAIT_S, StageProgress
from codesign.commands.rtl import rtl_text
from codesign.export import export_design
from codesign.export.networks import WrittenNetwork


def run(arguments: argparse.Namespace) -> int:
    progress = StageProgress(WAIT_S, silent=arguments.json or arguments.quiet)
    with own_folder(arguments.out, "export"), progress:
        progress("export", 0, 1, f"design {arguments.design} to {arguments.to}")
        written = export_design(arguments.study, arguments.design, arguments.to, arguments.out)
    if arguments.json:
        print_json(written)
    elif arguments.to == "rtl":
        print(f"{arguments.out}: {rtl_text(written)}")
    elif "tasks" in written:
        for task, facts in written["tasks"].items():
            print(f"{task}: {_text(facts)}")
            for deviation in facts["deviations"]:
                print(f"  deviation: {deviation}")
    else:
        print("\n".join(f"{key}: {value}" for key, value in written.items()))
    return 0


def _text(facts: WrittenNetwork) -> str:
    """What became of a network, in a line."""
    opened = f", opened again by {facts['opened_by']}" if facts["opened_by"] else ""
    outputs = "" if facts["sqnr_db"] is None else f", outputs {facts['sqnr_db']:.1f} dB from those that were scored"
    return f"{facts['path']} ({facts['layers']} layers{opened}: codes and scales equal{outputs})"
