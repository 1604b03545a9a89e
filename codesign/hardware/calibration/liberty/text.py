"""Parses Liberty files into trees of groups.

Liberty consists of ``name (arguments) { ... }``, ``name : value ;`` and ``name (arguments) ;``. Groups that a caller
does not need are skipped without parsing, since about nine tenths of a library are delay tables.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from codesign.errors import InputError

_COMMENT = re.compile(r"/\*[\s\S]*?\*/")
GAP = r"(?:\s|\\[ \t]*\r?\n|/\*[\s\S]*?\*/)*"  # between the words of a statement, which a backslash continues
_BLANK = re.compile(r"(?:[\s;]+|\\[ \t]*\r?\n|/\*[\s\S]*?\*/|//[^\n]*)*")
_WORD = re.compile(r"[A-Za-z_][\w.\-]*")
_AFTER_WORD = re.compile(GAP)
_VALUE = re.compile(r'(?:[ \t]|\\[ \t]*\r?\n)*("(?:[^"\\]|\\[\s\S])*"|(?:[^;\n\\}"]|\\\r?\n)*)[^;\n}]*;?')
ARGUMENTS = re.compile(r'\(((?:"(?:[^"\\]|\\[\s\S])*"|[^()"])*)\)')
_BRACE = re.compile(r'"(?:[^"\\]|\\[\s\S])*"|/\*[\s\S]*?\*/|[{}]')
_LIBRARY = re.compile(rf"library{GAP}\(")
OPENING = re.compile(GAP + r"\{")
CAPACITANCES = ("capacitance", "rise_capacitance", "fall_capacitance")  # of a pin: the first, or the mean of the others


@dataclass
class Group:
    """``kind (arguments) { attributes, complex attributes, groups }``; ``offset``: its position in the text."""

    kind: str
    arguments: tuple[str, ...]
    offset: int
    attributes: dict[str, str] = field(default_factory=dict)
    complex: dict[str, str] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    body: tuple[int, int] = (0, 0)

    def all(self, kind: str) -> list[Group]:
        return [group for group in self.groups if group.kind == kind]

    def first(self, *kinds: str) -> Group | None:
        return next((group for group in self.groups if group.kind in kinds), None)


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed if it is gzip. Raises InputError naming the file."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "damaged gzip file"
        raise InputError(f"{path}: cannot be read ({reason})") from None


def liberty_text(path: Path) -> str:
    """The text of a Liberty file. Raises InputError for other files."""
    content = read_bytes(path)
    if b"\x00" in content[:4096]:
        raise InputError(f"{path}: not a Liberty file (binary data)")
    text = content.decode("utf-8-sig", errors="replace")  # without the byte-order mark of an editor
    start = _after_blank(text, 0)
    if _LIBRARY.match(text, start) is None:
        line = text.count("\n", 0, start) + 1
        raise InputError(f"{path}:{line}: not a Liberty file (it must begin with 'library (NAME) {{')")
    return text


class Parser:
    """Parser of groups; errors name ``path`` and the line."""

    def __init__(self, text: str, path: Path) -> None:
        self.text, self.path = text, path

    def line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def error(self, offset: int, message: str) -> InputError:
        return InputError(f"{self.path}:{self.line(offset)}: {message}")

    def close_of(self, group: Group, start: int) -> int:
        """Offset just after the brace that closes a group whose body starts at ``start``."""
        depth, text = 1, self.text
        for match in _BRACE.finditer(text, start):
            found = match[0]
            if found == "{":
                depth += 1
            elif found == "}":
                depth -= 1
                if depth == 0:
                    return match.end()
        raise self.truncated(group)

    def group(self, offset: int, unread: Collection[str]) -> Group:
        """The group that starts at ``offset``, without inner groups of the kinds ``unread``."""
        parent = Group("", (), offset)
        self.statement(offset, parent, lambda kind, _: kind in unread)
        return parent.groups[0]

    def truncated(self, group: Group) -> InputError:
        name = f" ({', '.join(group.arguments)})" if group.arguments else ""
        return self.error(group.offset, f"the braces of {group.kind}{name} are never closed: the file is truncated")

    def statement(self, at: int, parent: Group, skip: Callable[[str, Group], bool]) -> tuple[Group | None, int]:
        """Parse one statement at ``at`` into ``parent``; returns (the group if it is one, end offset).

        A group for which ``skip(kind, parent)`` is true is returned without content and not added to ``parent``.
        """
        text = self.text
        word = _WORD.match(text, at)
        if word is None:
            raise self.error(at, f"a Liberty statement should start here, found {text[at : at + 20].strip()!r}")
        kind, gap = word[0], _AFTER_WORD.match(text, word.end())
        assert gap is not None  # it may be empty
        at = gap.end()
        mark = text[at : at + 1]
        if mark == ":":
            value = _VALUE.match(text, at + 1)
            assert value is not None  # it may be empty
            found = value[1] if value[1].startswith('"') else _COMMENT.sub("", value[1])
            parent.attributes[kind] = found.strip().strip('"')
            return None, value.end()
        arguments = ARGUMENTS.match(text, at) if mark == "(" else None
        if arguments is None:
            raise self.error(word.start(), f"expected ':' or '(...)' after {kind!r}")
        opening = OPENING.match(text, arguments.end())
        if opening is None:
            parent.complex[kind] = arguments[1]
            return None, arguments.end()
        names = tuple(part.strip().strip('"') for part in arguments[1].split(",") if part.strip())
        group = Group(kind, names, word.start())
        if skip(kind, parent):
            return group, self.close_of(group, opening.end())
        parent.groups.append(group)
        start = at = _after_blank(text, opening.end())
        while at < len(text) and text[at] != "}":
            _, at = self.statement(at, group, skip)
            at = _after_blank(text, at)
        if at >= len(text):
            raise self.truncated(group)
        group.body = (start, at)
        return group, at + 1


def outline(path: Path) -> tuple[Parser, Group, list[tuple[Group, int]]]:
    """(parser, library, inner groups), the inner groups unparsed, each with the offset after its closing brace."""
    text = liberty_text(path)
    parser, inner = Parser(text, path), []
    library = Group("library", (), _after_blank(text, 0))
    arguments = ARGUMENTS.match(text, text.index("(", library.offset))
    opening = OPENING.match(text, arguments.end()) if arguments else None
    if arguments is None or opening is None:
        raise parser.error(library.offset, "not a Liberty file (it must begin with 'library (NAME) {')")
    library.arguments = (arguments[1].strip().strip('"'),)
    at = _after_blank(text, opening.end())
    while at < len(text) and text[at] != "}":
        group, at = parser.statement(at, library, lambda kind, parent: True)
        if group is not None:
            inner.append((group, at))
        at = _after_blank(text, at)
    if at >= len(text):
        raise parser.truncated(library)
    if _LIBRARY.match(text, _after_blank(text, at + 1)):
        raise parser.error(_after_blank(text, at + 1), "a second library begins here: give one library a file")
    library.body = (opening.end(), at)
    return parser, library, inner


def _after_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None  # it may be empty
    return blank.end()


def library_units(library: Group) -> dict[str, str]:
    """The units in the header of a library, without spaces."""
    names = ("time_unit", "voltage_unit", "leakage_power_unit", "current_unit", "pulling_resistance_unit")
    units = {name: library.attributes.get(name, "").replace(" ", "") for name in names}
    load = library.complex.get("capacitive_load_unit", "")
    units["capacitive_load_unit"] = re.sub(r'[\s"\\]', "", load).lower()
    return units
