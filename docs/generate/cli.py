"""The reference of the commands, from their parsers."""

from __future__ import annotations

import argparse

from codesign.arguments import parser_of_commands


def part() -> str:
    """A section for each command: what it does, its options, its examples."""
    return "\n".join(_command(name, parser) for name, parser in commands().items())


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command."""
    actions = parser_of_commands()._actions
    return next(dict(a.choices) for a in actions if isinstance(a, argparse._SubParsersAction))


def _command(name: str, parser: argparse.ArgumentParser) -> str:
    rows = [_row(action) for action in parser._actions if action.help != argparse.SUPPRESS]
    usage = " ".join(parser.format_usage().removeprefix("usage: ").split())
    lines = [f"## {name}", "", parser.description or "", "", "```text", usage, "```", "", "| option | meaning |"]
    return "\n".join([*lines, "|---|---|", *rows, "", *_examples(parser)])


def _row(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings) or str(action.metavar or action.dest).replace("|", " or ")
    value = ""
    if action.option_strings and action.nargs != 0:
        shown = action.metavar or (
            f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()
        )
        value = f" {shown if isinstance(shown, str) else ' '.join(shown)}"
    meaning = (action.help or "").replace("%%", "%").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
    return f"| `{names}{value}` | {meaning} |"


def _examples(parser: argparse.ArgumentParser) -> list[str]:
    examples = [line.strip() for line in (parser.epilog or "").splitlines()[1:] if line.strip()]
    return ["```sh", *examples, "```", ""] if examples else []
