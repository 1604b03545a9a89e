"""What the tests need of a Markdown page: its code blocks, headings, tables, links and anchors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```", re.M | re.S
)
_HEADING = re.compile(r"^(?P<level>#+) (?P<text>.+?)(?: *\{#(?P<anchor>[\w-]+)\})?$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name of the file that a block is, if its first line says so: ``# space.yaml``."""
        found = re.match(r"(?:#|//) ([\w-]+\.(?:py|yaml|json|txt))\b", self.text)
        return found[1] if found else None


def pages() -> tuple[Path, ...]:
    """All pages that a person writes, READMEs first."""
    written = sorted((ROOT / "docs").rglob("*.md"))
    return (*READMES, ROOT / "CONTRIBUTING.md", *written, *sorted((ROOT / "examples").rglob("*.md")))


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        indent = len(match["indent"])
        lines = [line[indent:] for line in match["text"].splitlines()]
        line = text.count("\n", 0, match.start()) + 2
        found.append(Block(page, line, match["language"], "\n".join(lines) + "\n"))
    return found


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def headings(page: Path) -> list[tuple[int, str]]:
    """(level, text) of each heading."""
    return [(len(match["level"]), match["text"]) for match in _HEADING.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """What a link may name after a #: of each heading what GitHub and MkDocs make of it, or what is given."""
    found = set()
    for match in _HEADING.finditer(prose(page)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", lambda m: m[1] or "", match["text"]).lower()
        found.add(match["anchor"] or re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip()))
    found |= set(re.findall(r'<a id="([\w-]+)"', prose(page)))
    return found


def links(page: Path) -> list[str]:
    """The targets of all links and images."""
    return [match["target"] or match["image"] for match in _LINK.finditer(re.sub(r"`[^`\n]*`", "", prose(page)))]


def tables(page: Path) -> list[list[list[str]]]:
    """Of each table its rows, of each row its cells; the line under the head is left out."""
    found: list[list[list[str]]] = []
    inside = False
    for line in prose(page).splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append([])
            inside = True
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            found[-1].append(cells)
    return found
