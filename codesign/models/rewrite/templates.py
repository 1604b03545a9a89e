"""The words of the message grammar, as `grammar.yaml` has them."""

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
    """`grammar.yaml`; greetings: by register; closings: [casual, polite]; syllable: by place in a name."""

    names: str
    slots: dict[str, list[str]]
    bodies: dict[str, _Phrasings]
    extras: dict[str, _Phrasings]
    greetings: dict[str, list[str]]
    closings: list[list[str]]
    syllable: dict[str, list[str]]


_GRAMMAR: _Grammar = yaml.safe_load(Path(__file__).with_name("grammar.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Intent:
    """What a sentence does: its casual and polite phrasings, and its short form (may be empty).

    The first phrasing of a register is the one that a rewrite must give.
    """

    name: str
    casual: tuple[str, ...]
    polite: tuple[str, ...]
    short: str

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
