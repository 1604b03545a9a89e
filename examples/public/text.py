"""English prose that comes with Python, to score language models on: its reference manual and docstrings.

    python -m examples.public.text    # writes build/public/english-calibration.txt and english-evaluation.txt

Paragraphs of full sentences, without code, tables and grammar, in the order of the manual's pages (`pydoc_data`) and
the library's modules; a page or module is for calibration or for evaluation. One version of Python always gives the
same text, another version gives another, so a figure names its version. Language models have read these pages in
training.
"""

from __future__ import annotations

import ast
import re
import sys
import sysconfig
from pathlib import Path
from pydoc_data.topics import topics
from typing import Literal

from examples.public.download import cache

Part = Literal["calibration", "evaluation"]
PARTS: tuple[Part, Part] = ("calibration", "evaluation")
# Modules with much prose in their docstrings.
MODULES = (
    *("argparse", "ast", "asyncio.base_events", "asyncio.events", "bdb", "calendar", "cmd", "codecs", "configparser"),
    *("copy", "csv", "datetime", "difflib", "doctest", "email.message", "enum", "fractions"),
    *("ftplib", "functools", "http.client", "http.cookiejar", "imaplib", "inspect", "logging", "optparse"),
    *("pathlib", "pickle", "pickletools", "random", "shutil", "smtplib", "statistics", "subprocess", "tempfile"),
    *("textwrap", "threading", "timeit", "typing", "unittest.case", "unittest.mock", "zipfile"),
)
LEAST, LETTERS = 160, 0.94  # characters of a paragraph; share of letters and spaces in it


def documents(part: Part) -> list[str]:
    """The texts of a part, one for each page or module: paragraphs separated by empty lines."""
    seen, found = set[str](), list[str]()
    pages = [*(topics[name] for name in sorted(topics)), *(_docstrings(name) for name in MODULES)]
    for number, page in enumerate(pages):
        paragraphs = [p for p in _prose(page) if p not in seen]
        seen.update(paragraphs)
        if paragraphs and PARTS[number % 2] == part:
            found.append("\n\n".join(paragraphs))
    return found


def _prose(page: str) -> list[str]:
    """Paragraphs at the left margin that are whole sentences, each on one line and without marks of emphasis."""
    found = []
    for block in re.split(r"\n\s*\n", page):
        text = re.sub(r"(?<!\w)\*{1,2}(\w[^*]*)\*{1,2}(?!\w)", r"\1", " ".join(block.split()))
        sentences = text[:1].isupper() and text.endswith(".") and not re.search(r"\*|::|>>>|[{}\\|=]", text)
        plain = sum(c.isalpha() or c.isspace() for c in text) >= LETTERS * len(text)
        if len(text) >= LEAST and sentences and plain and not block[:1].isspace():
            found.append(text)
    return found


def _docstrings(module: str) -> str:
    """All docstrings of a module of the standard library, which is read and not imported."""
    path = Path(sysconfig.get_path("stdlib"), *module.split("."))
    file = next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.exists()), None)
    if file is None:  # another version of Python
        return ""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return "\n\n".join(ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, kinds))


def main() -> None:
    cache().mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        texts = documents(part)
        file = cache() / f"english-{part}.txt"
        file.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
        print(f"{file}: {len(texts)} texts, {sum(map(len, texts))} characters, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
