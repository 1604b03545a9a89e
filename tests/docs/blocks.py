"""Checks of the code of a page: YAML is read as the file that it is, commands by the parser of their program."""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

import yaml

from codesign.arguments import parser_of_commands
from codesign.hardware import load_accelerator
from codesign.search.space.written import SpaceFile
from codesign.yamlio import load_yaml
from tests.docs.markdown import ROOT, Block

SHELLS = ("sh", "bash", "console")
# programs that pages name and that are not ours
OTHERS = ("cd", "export", "kubectl", "sbatch", "install", "sqlite3", "optuna-dashboard", "python", "git", ".")


def commands(block: Block) -> list[str]:
    """The command lines of a block, without comments; a line that ends in a backslash goes on."""
    joined = block.text.replace("\\\n", " ")
    return [
        line.removeprefix("$ ") for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


def words(command: str) -> list[str]:
    """The words of a command line; settings of variables in front of it are left out."""
    found = shlex.split(command, comments=True)
    while found and "=" in found[0] and not found[0].startswith("-"):
        found = found[1:]
    return found


@cache
def targets_of_make() -> set[str]:
    return {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}


def check_command(command: str) -> None:
    """Raise unless a command line is one that its program would understand, as far as we can tell."""
    program, *rest = words(command)
    if program == "codesign":
        if rest[0] != "--help":
            parser_of_commands().parse_args(rest)  # exits on what it does not know
    elif program == "make":
        assert set(rest) <= targets_of_make(), command
    elif program == "pip":
        assert rest[:1] == ["install"], command
    elif program == "python" and rest[:1] == ["-m"]:
        assert (ROOT / f"{rest[1].replace('.', '/')}.py").is_file() or rest[1] == "http.server", command
    else:
        assert program in OTHERS, f"{program} is no program that our pages use: {command}"


def check_yaml(block: Block, folder: Path) -> None:
    """Read a YAML block as what it is: a search space or an accelerator."""
    path = folder / (block.file or "block.yaml")
    path.write_text(block.text, encoding="utf-8")
    keys = set(yaml.safe_load(block.text))
    if "objectives" in keys:
        load_yaml(path, SpaceFile)
    elif "rows" in keys:
        load_accelerator(str(path))
    else:
        raise AssertionError(f"{block}: a YAML block is a whole file, of a search space or an accelerator")
