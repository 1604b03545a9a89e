"""``codesign report``: writes the report of a study again, or an index over all its runs."""

from __future__ import annotations

import argparse

from codesign.commands.output import print_json
from codesign.report import write_report
from codesign.report.nights import write_nights


def run(arguments: argparse.Namespace) -> int:
    if arguments.nights:
        index = write_nights(arguments.study)
        print_json({"nights": str(index)}) if arguments.json else print(f"nights: {index}")
        return 0
    markdown, html = write_report(arguments.study)
    if arguments.json:
        print_json({"markdown": str(markdown), "html": str(html)})
    else:
        print(f"report: {html}\nreport: {markdown}")
    return 0
