"""``codesign diff``: compares two studies, or a study with itself before its last run."""

from __future__ import annotations

import argparse
from pathlib import Path

from codesign.commands.output import print_json
from codesign.designs import earlier
from codesign.files import check_target, write_target
from codesign.report.diff import as_markdown, compare
from codesign.report.diff_page import diff_page


def run(arguments: argparse.Namespace) -> int:
    check_target(arguments.out, "--out")
    check_target(arguments.html, "--html")
    old, new = arguments.old, arguments.new
    if new is None:
        old, new = _before(old), old
    found = compare(old, new)
    text = as_markdown(found)
    if old == new:
        why = f"The first front of {new}, or no night changed it: there is no earlier one, so it stands against itself."
        text = f"{why}\n\n{text}"
    if arguments.out:
        write_target(arguments.out, text, "--out")
    if arguments.html:
        write_target(arguments.html, diff_page(found), "--html")
    if arguments.json:
        print_json(found.to_dict())
    else:
        print(text, end="")
    return int(found.verdict == "worse")


def _before(study: Path) -> Path:
    """The last front of an earlier run of the study, or the study itself if no run replaced a front."""
    return [study, *earlier(study)][-1]
