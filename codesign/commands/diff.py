"""``codesign diff``: compares two studies."""

from __future__ import annotations

import argparse

from codesign.commands.output import print_json
from codesign.files import check_target, write_target
from codesign.report.diff import as_markdown, compare


def run(arguments: argparse.Namespace) -> int:
    check_target(arguments.out, "--out")
    found = compare(arguments.old, arguments.new)
    text = as_markdown(found)
    if arguments.out:
        write_target(arguments.out, text, "--out")
    if arguments.json:
        print_json(found.to_dict())
    else:
        print(text, end="")
    return int(found.verdict == "worse")
