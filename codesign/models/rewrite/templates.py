"""The message grammar, read from `grammar.yaml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import yaml


class _Phrasings(TypedDict):
    """An intent in `grammar.yaml`."""

    casual: list[str]
    polite: list[str]
    short: str


class _Grammar(TypedDict):
    """`grammar.yaml`."""

    names: str  # separated by spaces
    slots: dict[str, list[str]]
    bodies: dict[str, _Phrasings]
    extras: dict[str, _Phrasings]
    greetings: dict[str, list[str]]  # by register
    closings: list[list[str]]  # [casual, polite] each
    syllable: dict[str, list[str]]  # letters by position in a syllable


_GRAMMAR: _Grammar = yaml.safe_load(Path(__file__).with_name("grammar.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Intent:
    """The intent of a sentence; the first phrasing of a register is the right answer of a rewrite."""

    name: str
    casual: tuple[str, ...]  # phrasings
    polite: tuple[str, ...]
    short: str  # may be empty

    def phrasings(self, register: str) -> tuple[str, ...]:
        return self.casual if register == "casual" else self.polite


def _intents(table: dict[str, _Phrasings]) -> tuple[Intent, ...]:
    return tuple(Intent(name, tuple(t["casual"]), tuple(t["polite"]), t["short"]) for name, t in table.items())


NAMES: tuple[str, ...] = tuple(_GRAMMAR["names"].split())
SLOTS: dict[str, tuple[str, ...]] = {slot: tuple(values) for slot, values in _GRAMMAR["slots"].items()}
BODIES, EXTRAS = _intents(_GRAMMAR["bodies"]), _intents(_GRAMMAR["extras"])
GREETINGS: dict[str, tuple[str, ...]] = {register: tuple(forms) for register, forms in _GRAMMAR["greetings"].items()}
CLOSINGS: tuple[tuple[str, str], ...] = tuple((casual, polite) for casual, polite in _GRAMMAR["closings"])
SYLLABLE: tuple[tuple[str, ...], ...] = tuple(tuple(parts) for parts in _GRAMMAR["syllable"].values())
