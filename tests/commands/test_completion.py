"""``codesign completion`` completes commands, options and their choices in bash, without starting Python."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from codesign.arguments import parser_of_commands
from codesign.commands.completion import script as script_of

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")


def script(shell: str) -> str:
    return script_of(shell, parser_of_commands().parse_args(["completion", shell]).parsers)


def completed(line: str, shell: str = "bash") -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    call = f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}; _codesign; "
    whole = script(shell).replace("autoload -U +X bashcompinit && bashcompinit\n", "") + call
    run = subprocess.run(
        ["bash", "-c", whole + 'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True, check=True
    )
    assert run.stderr == ""
    return run.stdout.split()


def test_commands_are_completed() -> None:
    assert completed("codesign va") == ["validate"]
    assert {"search", "init", "doctor", "completion"} <= set(completed("codesign "))


def test_options_are_those_of_the_command() -> None:
    assert completed("codesign search space.yaml --ev") == ["--evaluations"]
    assert completed("codesign diff --ev") == []


def test_choices_of_an_option_are_completed() -> None:
    assert set(completed("codesign evaluate --ranges m")) == {"minmax", "mse"}


def test_other_words_are_left_to_the_shell_which_knows_files() -> None:
    assert completed("codesign search spa") == []
    assert "complete -o default -F _codesign codesign" in script("bash")


def test_zsh_takes_the_same_words_by_its_own_loader() -> None:
    assert "bashcompinit" in script("zsh")
    assert completed("codesign va", "zsh") == ["validate"]
