"""``codesign report``: writes the report of a study again."""

from __future__ import annotations

import argparse

from codesign.commands.output import print_json
from codesign.report import write_report


def run(arguments: argparse.Namespace) -> int:
    markdown, html = write_report(arguments.study)
    if arguments.json:
        print_json({"markdown": str(markdown), "html": str(html)})
    else:
        print(f"report: {html}\nreport: {markdown}")
    return 0
