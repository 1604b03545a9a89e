"""Merges Liberty files into one for synthesis, in the spelling that yosys and abc read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.hardware.calibration.liberty.text import (
    ARGUMENTS,
    CAPACITANCES,
    GAP,
    OPENING,
    Group,
    Parser,
    library_units,
    outline,
)

# Tables that neither yosys nor abc reads; without them a merged library loads in half the time.
_NOT_FOR_SYNTHESIS = re.compile(
    r"\b(?:internal_power|leakage_power|normalized_driver_waveform|receiver_capacitance|output_current_\w+)\s*\("
)
_LATE = re.compile("^default_|_unit$")
_LOAD_UNIT = re.compile(rf"\bcapacitive_load_unit{GAP}\([^)]*\)")
# a boolean expression without quotes, which yosys does not read
_UNQUOTED = re.compile(
    r"\b(function|next_state|clocked_on|clear|preset|enable|data_in|three_state|state_function)"
    r"([ \t]*:[ \t]*)([^\s\"\\;}][^\n\"\\;}]*)"
)
_DEFAULT = "default_input_pin_cap"  # which neither yosys nor abc reads
_PINS = re.compile(rf"\bpin{GAP}\(([^()]*,[^()]*)\)")


def write_merged(library_paths: Sequence[Path], target_path: Path) -> None:
    """Write one plain-text library for synthesis: the cells of all files under the first file's header.

    Groups that synthesis does not read (power tables) are omitted, spellings that yosys or abc refuse are replaced.
    Raises InputError for a file that is missing, not Liberty or truncated, and if files differ in their units.
    """
    pieces: list[str] = []
    known: set[tuple[str, tuple[str, ...]]] = set()
    header: Group | None = None
    for path in library_paths:
        parser, library, inner = outline(path)
        if header is None:
            header = library
            head = parser.text[library.offset : inner[0][0].offset if inner else library.body[1]]
            load = f"capacitive_load_unit ({library_units(library)['capacitive_load_unit']})"
            pieces.append(_LOAD_UNIT.sub(load, head))
            if "capacitive_load_unit" not in head:  # what stands after the first group belongs to the header too
                pieces.append(f"  {load};\n")
            late = {k: v for k, v in library.attributes.items() if _LATE.search(k) and k not in head}
            pieces.extend(f'  {key} : "{value}";\n' for key, value in late.items())
        elif library_units(library) != library_units(header):
            raise InputError(f"{path}: its units differ from those of {library_paths[0]}")
        for group, end in inner:
            key = (group.kind, group.arguments)
            if key in known or _NOT_FOR_SYNTHESIS.match(group.kind + "("):
                continue  # a template or cell that an earlier file has defined
            known.add(key)
            text = _plain(_slim(parser.text[group.offset : end], path), path)
            default = library.attributes.get(_DEFAULT)
            pieces.append((_loaded(text, path, default) if default and group.kind == "cell" else text) + "\n")
    if header is None:
        raise InputError("no Liberty file given")
    write_atomic(target_path, "".join(pieces) + "}\n")


def _slim(text: str, path: Path) -> str:
    """The text of a group without inner groups that synthesis does not read."""
    parser, kept, at = Parser(text, path), [], 0
    while (match := _NOT_FOR_SYNTHESIS.search(text, at)) is not None:
        arguments = ARGUMENTS.match(text, match.end() - 1)
        opening = OPENING.match(text, arguments.end()) if arguments else None
        if opening is None:
            kept.append(text[at : match.end()])
            at = match.end()
            continue
        kept.append(text[at : match.start()])
        at = parser.close_of(Group(match[0], (), match.start()), opening.end())
    return "".join(kept) + text[at:]


def _plain(text: str, path: Path) -> str:
    """The text of a group with quoted functions, and a group for each pin of a list."""
    text = _UNQUOTED.sub(lambda found: f'{found[1]}{found[2]}"{found[3].split("/*")[0].strip()}"', text)
    parser, kept, at = Parser(text, path), [], 0
    while (match := _PINS.search(text, at)) is not None:
        kept.append(text[at : match.start()])
        opening = OPENING.match(text, match.end())
        at = match.end() if opening is None else parser.close_of(Group("pin", (), match.start()), opening.end())
        names = match[1].split(",")
        kept.append("\n".join(f"pin ({name.strip()}){text[match.end() : at]}" for name in names))
    return "".join(kept) + text[at:]


def _loaded(text: str, path: Path, default: str) -> str:
    """The text of a cell whose input pins all have a capacitance: those without one have `default`."""
    pins = Parser(text, path).group(0, {"test_cell", "pg_pin", "timing"}).all("pin")
    for pin in reversed(pins):
        if pin.attributes.get("direction") == "input" and not pin.attributes.keys() & set(CAPACITANCES):
            start = pin.body[0]
            text = f"{text[:start]}capacitance : {default}; {text[start:]}"
    return text
