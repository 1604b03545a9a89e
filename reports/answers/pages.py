"""The pages of this folder: every question that `codesign ask` answers, asked with the options below.

    python reports/answers/pages.py [QUESTION]

They stand here and not in reports/studies, which git ignores, as they are to be read without running anything.
"""

from __future__ import annotations

import sys
from pathlib import Path

from codesign.answers.registry import QUESTIONS

HERE = Path(__file__).parent
ASKED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("smallest-chip", "smallest-chip", ()),
    ("smallest-chip-50-steps", "smallest-chip", ("network=sd15-pipeline:steps=50",)),
    ("real-time", "real-time", ()),
    ("tokens", "tokens", ()),
    ("sram-knee", "sram-knee", ()),
    ("fp8-or-int8", "fp8-or-int8", ()),
    ("older-node", "older-node", ()),
    ("phone-gpu", "phone-gpu", ()),
)


def main() -> None:
    only = sys.argv[1:]
    for page, name, written in ASKED:
        if only and page not in only:
            continue
        question = QUESTIONS[name]
        options = question.asked(written)
        answer = question.answer(options, print)
        (HERE / f"{page}.md").write_text(answer.markdown(question.command(options)), encoding="utf-8")
    lines = ["# Answers", "", "Written by `python reports/answers/pages.py`; each page names its own command.", ""]
    for page, name, _ in ASKED:
        command = (HERE / f"{page}.md").read_text(encoding="utf-8").splitlines()[2]
        lines.append(f"- [{page}]({page}.md): {QUESTIONS[name].summary} ({command})")
    (HERE / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
