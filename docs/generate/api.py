"""The reference of the Python API: signatures and docstrings of all public names.

Public are the names in `__all__` of codesign and of the packages below; a test asks that each is documented.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

PACKAGES = (
    "codesign",
    "codesign.formats",
    "codesign.workload",
    "codesign.hardware",
    "codesign.models",
    "codesign.quality",
    "codesign.designs",
    "codesign.search",
    "codesign.export",
    "codesign.report",
    "codesign.targets",
)
_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Example|Examples):$")


def part() -> str:
    """A section for each package, in it each name that no earlier package has."""
    lines, seen = [], set[int]()
    for package in PACKAGES:
        module = importlib.import_module(package)
        lines += [f"## {package}", "", rendered(inspect.getdoc(module) or ""), ""]
        for name, found in public(package):
            if id(found) not in seen:
                seen.add(id(found))
                lines += _entry(package, name, found)
    return "\n".join(lines)


def public(package: str) -> Iterator[tuple[str, Any]]:
    """(name, object) of all public names of a package."""
    module = importlib.import_module(package)
    for name in sorted(module.__all__, key=str.lower):
        yield name, getattr(module, name)


def members(found: Any) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that a class itself defines, for which there is a docstring."""
    for name, member in vars(found).items():
        bare = member.__func__ if isinstance(member, (classmethod, staticmethod)) else member
        if name.startswith("_") or not (inspect.isfunction(bare) or isinstance(bare, property) or _cached(bare)):
            continue
        if _written(bare):
            yield name, bare


def is_described(found: Any) -> bool:
    """Whether it is a class or function, whose docstring can be asked for; constants and aliases are shown by value."""
    return inspect.isclass(found) or inspect.isroutine(found)


def docstring(found: Any) -> str:
    """Its own docstring; not the one that dataclasses and pydantic make up, nor one that is inherited."""
    text = inspect.cleandoc(vars(found).get("__doc__") or "") if inspect.isclass(found) else inspect.getdoc(found) or ""
    return "" if dataclasses.is_dataclass(found) and text.startswith(f"{found.__name__}(") else text


def _entry(package: str, name: str, found: Any) -> list[str]:
    if not is_described(found):
        return [f"### {package}.{name}", "", f"`{found!r}`"[:300], ""]
    lines = [f"### {package}.{name}", "", *_signature(name, found), rendered(docstring(found)), ""]
    if inspect.isclass(found):
        lines += [f"- `{field}`: {_escaped(kind)}" for field, kind in _fields(found)]
        lines.append("")
        for called, member in members(found):
            text = _docs(member)
            lines += [f"**`{name}.{called}{_arguments(member)}`**", "", rendered(text), ""]
    return lines


def _signature(name: str, found: Any) -> list[str]:
    if inspect.isclass(found) and (_fields(found) or issubclass(found, BaseException)):
        return []
    text = _arguments(found)
    return ["```text", f"{name}{text}", "```", ""] if text else []


def _arguments(found: Any) -> str:
    if isinstance(found, property) or _cached(found):
        return ""
    try:
        return str(inspect.signature(found)).replace("'", "")
    except (TypeError, ValueError):
        return ""


def _fields(found: Any) -> list[tuple[str, str]]:
    """(name, type) of the fields of a dataclass or pydantic model."""
    if dataclasses.is_dataclass(found):
        return [(f.name, _of_axis(str(f.type))) for f in dataclasses.fields(found) if not f.name.startswith("_")]
    fields = getattr(found, "model_fields", {})
    return [(name, _type(f.annotation) + (f": {f.description}" if f.description else "")) for name, f in fields.items()]


def _of_axis(kind: str) -> str:
    """``int: lanes of a unit at rate 1`` of a field that declares a hardware axis; other types as they are."""
    return re.sub(r"""^Annotated\[(\w+), Axis\((['"])(.*?)\2.*$""", r"\1: \3", kind)


def _type(annotation: Any) -> str:
    return annotation.__name__ if inspect.isclass(annotation) else re.sub(r"\b(?:\w+\.)+", "", str(annotation))


def _cached(member: Any) -> bool:
    return type(member).__name__ == "cached_property"


def _written(member: Any) -> bool:
    return bool(_docs(member))


def _docs(member: Any) -> str:
    return inspect.cleandoc(getattr(member, "__doc__", None) or "")


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is, except code in backquotes, of one sort."""
    pieces = re.split(r"(`[^`\n]+`)", text.replace("``", "`"))
    for i in range(0, len(pieces), 2):
        pieces[i] = re.sub(r"([*_<>\[\]|#])", r"\\\1", pieces[i])
    return "".join(pieces)


def rendered(text: str) -> str:
    """A docstring as Markdown: sections in bold, their entries as a list, indented text as code."""
    lines, out, section = text.splitlines(), list[str](), False
    i = 0
    while i < len(lines):
        line = lines[i]
        if _SECTION.match(line):
            section = True
            out += ["", f"**{line.removesuffix(':')}**", ""]
        elif line.startswith("    ") and not section:
            block = []
            while i < len(lines) and (lines[i].startswith("    ") or not lines[i].strip()):
                block.append(lines[i])
                i += 1
            body = inspect.cleandoc("\n".join(block))
            out += ["", "```text", body, "```", ""]
            continue
        elif section and line.startswith("    "):
            inner = line[4:]
            out.append(f"- {_escaped(inner)}" if not inner.startswith(" ") else f"  {_escaped(inner.strip())}")
        else:
            section = section and not line.strip()
            out.append(_escaped(line[:-1] if line.endswith("::") else line))
        i += 1
    return "\n".join(out)
