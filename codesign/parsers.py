"""What the parsers of all commands share: errors in JSON, layout of the help, the options of every command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NoReturn

from codesign.errors import nearest

EXAMPLES = Path(__file__).parent / "spaces"  # search spaces that ship with the package
OWN_FILES = "folder for {}: a new or empty one, or one that this command wrote"


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
    quiet = "no progress on stderr, and no table at the end of a search; errors are said"
    parser.add_argument("-q", "--quiet", action="store_true", help=quiet)
    parser.add_argument("--traceback", action="store_true", help="show the Python traceback of an error as well")
    return parser


def add_space(p: argparse.ArgumentParser) -> None:
    """Add the search space of a command, `space`: its file, or by --example one that ships with the package."""
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("space", type=Path, nargs="?", action=_Given, metavar="SPACE.yaml", help="search space file")
    shipped = f"in place of a file, a search space that ships with codesign: {', '.join(_examples())}"
    which.add_argument("--example", dest="space", type=_example, metavar="NAME", help=shipped)


class _Given(argparse.Action):
    """Stores a file that is given; argparse calls it without one, too, and would then forget the example."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, _: str | None = None
    ) -> None:
        if values is not None:
            setattr(namespace, self.dest, values)


def _examples() -> list[str]:
    return sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def _example(name: str) -> Path:
    """The file of an example, by its name."""
    if name not in _examples():
        raise argparse.ArgumentTypeError(f"no example '{name}'{nearest(name, _examples())}")
    return EXAMPLES / f"{name}.yaml"
