"""``codesign completion``: writes a script that completes commands, options and choices in bash or zsh.

The script is made from the parsers and holds all words, so that a completion starts no Python.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from codesign.commands.output import print_json

_HEAD = """\
# {shell} completion of codesign: eval "$(codesign completion {shell})", or write it to a file that your shell reads
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_BODY = """\
_codesign() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD - 1]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}} $before" in
{choices}
        *)
            case "${{COMP_WORDS[1]}}" in
{options}
            esac
            case "$word" in -*) ;; *) words="" ;; esac ;;
        esac
    fi
    COMPREPLY=()
    [ -z "$words" ] || COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _codesign codesign
"""


def run(arguments: argparse.Namespace) -> int:
    text = script(arguments.shell, arguments.parsers)
    if arguments.json:
        print_json({"shell": arguments.shell, "script": text})
    else:
        print(text, end="")
    return 0


def script(shell: str, commands: Mapping[str, argparse.ArgumentParser]) -> str:
    """The script for a shell, of the parser of each command. Where nothing of it fits, the shell completes files."""
    options, choices = [], []
    for name, parser in commands.items():
        flags: list[str] = []
        for action in parser._actions:  # argparse has no public list of a parser's options
            flags += action.option_strings
            if action.choices and action.option_strings:
                patterns = " | ".join(f'"{name} {flag}"' for flag in action.option_strings)
                choices.append(f'        {patterns}) words="{" ".join(map(str, action.choices))}" ;;')
            elif action.choices:
                choices.append(f'        "{name} {name}") words="{" ".join(map(str, action.choices))}" ;;')
        options.append(f'            {name}) words="{" ".join(flags)}" ;;')
    filled = _BODY.format(commands=" ".join(commands), options="\n".join(options), choices="\n".join(choices))
    return _HEAD.format(shell=shell) + (_ZSH if shell == "zsh" else "") + filled
