"""``codesign ask``: answers a question of a chip team, with figures, intervals and an estimate by hand."""

from __future__ import annotations

import argparse

from codesign.answers.answer import Answer
from codesign.answers.registry import QUESTIONS, question_named
from codesign.commands.output import print_json, print_table, print_text
from codesign.commands.progress import WAIT_S, StageProgress
from codesign.errors import InputError
from codesign.files import check_target, write_target


def run(arguments: argparse.Namespace) -> int:
    if arguments.question is None:
        if arguments.out:
            raise InputError("--out goes with a question: codesign ask lists them")
        return _list(arguments.json)
    question = question_named(arguments.question)
    options = question.asked(arguments.options)
    check_target(arguments.out, "--out")
    steps = 0
    with StageProgress(WAIT_S, silent=arguments.json or arguments.quiet) as progress:

        def say(detail: str) -> None:
            nonlocal steps
            progress("ask", steps, steps + 1, detail)
            steps += 1

        answer = question.answer(options, say)
    command = question.command(options)
    if arguments.out:
        write_target(arguments.out, answer.markdown(command), "--out")
    if arguments.json:
        print_json({"command": command, "options": options.written()} | answer.to_dict())
    else:
        _print(answer)
        if arguments.out:
            print(arguments.out)
    return 0


def _list(as_json: bool) -> int:
    """List the questions with their options."""
    if as_json:
        listed = [
            {
                "name": q.name,
                "summary": q.summary,
                "options": [{"name": n, "default": d, "meaning": m} for n, d, m in q.options.shown()],
            }
            for q in QUESTIONS.values()
        ]
        print_json({"questions": listed})
        return 0
    print_table("questions", ["question", "what it answers"], [[q.name, q.summary] for q in QUESTIONS.values()])
    rows = [[q.name, name, usual, meaning] for q in QUESTIONS.values() for name, usual, meaning in q.options.shown()]
    print_table("options, as KEY=VALUE", ["question", "option", "default", "meaning"], rows)
    return 0


def _print(answer: Answer) -> None:
    print_text(answer.question)
    print_text(answer.answer)
    print()
    for table in answer.tables + ((answer.by_hand,) if answer.estimates else ()):
        print_table(table.title, table.headings, table.cells)
    for title, lines in (("what bounds it", answer.bounds), ("assumptions", answer.assumptions)):
        if lines:
            print(title)
            for line in lines:
                print_text(line, "- ")
