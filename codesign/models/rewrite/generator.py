"""Messages and their rewrites, generated from the grammar of `templates`.

Three kinds of messages are held out from training, each with its own evaluation split:

- ``names``: known phrasings, but all names in the message are held out;
- ``combinations``: a pair of body and extra sentence that does not occur in training;
- ``phrasings``: a source sentence whose wording occurs neither as source nor as target in training.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from codesign.models.rewrite.templates import BODIES, CLOSINGS, EXTRAS, GREETINGS, NAMES, SLOTS, SYLLABLE, Intent

STYLES = ("casual->polite", "polite->casual", "shorten")
HELDOUT_SPLITS = ("names", "combinations", "phrasings")
_SLOT = re.compile(r"{(\w+)}")


def _fraction(key: str) -> float:
    """A number in [0, 1) that depends on the key only, on every machine."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32


HELDOUT_NAMES = frozenset(n for n in NAMES if _fraction(f"name:{n}") < 0.15)
HELDOUT_PAIRS = frozenset(
    (b.name, e.name) for b in BODIES for e in EXTRAS if _fraction(f"pair:{b.name}+{e.name}") < 0.1
)
# Without first phrasings, which are the answers that training must contain.
HELDOUT_PHRASINGS = frozenset(
    p for b in BODIES for p in (*b.casual[1:], *b.polite[1:]) if _fraction(f"phrasing:{p}") < 0.15
)


@dataclass(frozen=True)
class Rewrite:
    """One example: rewrite `source` in the direction `style` to get `target`."""

    style: str
    source: str
    target: str
    body: str
    extra: str | None
    phrasing: str  # the template of the source's body sentence
    names: tuple[str, ...]

    @property
    def prompt(self) -> str:
        return f"<|{self.style}|>{self.source}<|to|>"

    @property
    def text(self) -> str:
        return f"{self.prompt}{self.target}<|end|>"


@dataclass(frozen=True)
class _Plan:
    """The content of a message, independent of its wording."""

    body: Intent
    extra: Intent | None
    closing: int
    slots: dict[str, str]

    def words(self, template: str, register: str) -> str:
        """Fill the slots of a template; casual text uses the casual form of each value."""

        def value(match: re.Match[str]) -> str:
            casual, _, polite = self.slots[match[1]].partition("|")
            return casual if register == "casual" else polite or casual

        return _SLOT.sub(value, template)

    def message(self, register: str, body: str, extra: str | None, greeting: str) -> str:
        parts = [greeting, body, extra or "", CLOSINGS[self.closing][register == "polite"]]
        text = self.words(" ".join(_sentence(p, register) for p in parts if p), register)
        return text.rstrip(".") if register == "casual" else text

    def answer(self, register: str) -> str:
        """The message in the first phrasings, which is the unique right answer of a rewrite."""
        extra = self.extra.phrasings(register)[0] if self.extra else None
        return self.message(register, self.body.phrasings(register)[0], extra, GREETINGS[register][0])

    def short(self) -> str:
        tail = f" ({self.extra.short})" if self.extra and self.extra.short else ""
        return self.words(f"{{name}}: {self.body.short}{tail}", "polite")


def _sentence(part: str, register: str) -> str:
    """A sentence with its full stop; polite phrasings include their own (`message` strips the last casual one)."""
    return part if register == "polite" or part[-1] in ".,!?" else f"{part}."


def training_stream(seed: int | str, invented: float = 0.0) -> Iterator[Rewrite]:
    """Infinite stream of training examples, determined by the seed.

    invented: share of names that are made up of syllables. A network trained on a fixed list of names memorises the
    list; one that sees a new name in each message learns to copy.
    """
    rng = random.Random(f"train:{seed}")
    while True:
        yield _draw(rng, None, invented)


def heldout(split: str, count: int, seed: int = 0) -> list[Rewrite]:
    """`count` different examples of a held-out split (see the module docstring)."""
    rng = random.Random(f"heldout:{split}:{seed}")
    found: dict[str, Rewrite] = {}
    while len(found) < count:
        example = _draw(rng, split)
        found[example.text] = example
    return list(found.values())


def _draw(rng: random.Random, split: str | None, invented: float = 0.0) -> Rewrite:
    style = rng.choice(STYLES)
    register = {"casual->polite": "casual", "polite->casual": "polite"}.get(style) or rng.choice(("casual", "polite"))
    body, extra = _pair(rng, split)
    known = [p for p in body.phrasings(register) if (p in HELDOUT_PHRASINGS) == (split == "phrasings")]
    if not known:
        return _draw(rng, split, invented)
    phrasing = rng.choice(known)
    plan = _Plan(body, extra, rng.randrange(len(CLOSINGS)), _slots(rng, body, extra, _people(rng, split, invented)))
    second = rng.choice(extra.phrasings(register)) if extra else None
    source = plan.message(register, phrasing, second, rng.choice(GREETINGS[register]))
    target = plan.short() if style == "shorten" else plan.answer("polite" if register == "casual" else "casual")
    names = tuple(v for k, v in plan.slots.items() if k in ("name", "person"))
    return Rewrite(style, source, target, body.name, extra.name if extra else None, phrasing, names)


def _pair(rng: random.Random, split: str | None) -> tuple[Intent, Intent | None]:
    """(body, extra sentence or None) without common slots, so that every slot has one value."""
    while True:
        body = rng.choice(BODIES)
        extra = rng.choice(EXTRAS) if split == "combinations" or rng.random() < 0.5 else None
        if extra is None:
            return body, None
        shared = _used(body) & _used(extra)
        if not shared and ((body.name, extra.name) in HELDOUT_PAIRS) == (split == "combinations"):
            return body, extra


def _used(intent: Intent) -> set[str]:
    return {slot for p in (*intent.casual, *intent.polite) for slot in _SLOT.findall(p)}


def _people(rng: random.Random, split: str | None, invented: float) -> tuple[str, str]:
    """(name of the recipient, name of a third person)."""
    listed = [n for n in NAMES if (n in HELDOUT_NAMES) == (split == "names")]
    first, second = rng.sample(listed, 2)
    if invented:  # conditional, so that streams without invented names draw no further random numbers
        first = _invented_name(rng) if rng.random() < invented else first
        second = _invented_name(rng) if rng.random() < invented else second
    return first, second


def _invented_name(rng: random.Random) -> str:
    """A name of one to three syllables that is not held out."""
    while True:
        syllables = ("".join(map(rng.choice, SYLLABLE)) for _ in range(rng.choice((1, 2, 2, 3))))
        name = "".join(syllables).capitalize()
        if len(name) > 2 and name not in HELDOUT_NAMES:
            return name


def _slots(rng: random.Random, body: Intent, extra: Intent | None, people: tuple[str, str]) -> dict[str, str]:
    name, person = people
    slots = {"name": name}
    for slot in sorted(_used(body) | (_used(extra) if extra else set())):
        slots[slot] = person if slot == "person" else rng.choice(SLOTS[slot])
    return slots
