"""What the parsers of all commands share: errors in JSON, layout of the help, the options of every command."""

from __future__ import annotations

import argparse
import json
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """A parser that says its errors in JSON too."""

    json = False  # of all parsers of a command line

    def error(self, message: str) -> NoReturn:
        if Parser.json:
            print(json.dumps({"error": message, "exit_code": 2}))
        super().error(message)


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps the description; the examples stay one to a line."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return text
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, example: str, more: str = ""
) -> argparse.ArgumentParser:
    description = f"{summary[0].upper()}{summary[1:]}. {more}".strip()
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog="\n  ".join(("examples:", *example.split(" || "))),
        formatter_class=Formatter,
    )
    parser.add_argument("--json", action="store_true", help="machine-readable result on stdout")
    parser.add_argument("--traceback", action="store_true", help="show the Python traceback of an error as well")
    return parser
