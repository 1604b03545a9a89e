"""Formats of the grammar by the hundred: all of some elements, blocks and scale types, or a draw of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from statistics import NormalDist

from codesign.errors import InputError
from codesign.formats.grammar import codebook_name
from codesign.formats.table import get_format

KINDS = ("integer", "float", "power", "log", "codebook")
SCALES = ("fp16", "e8m0", "e4m3", "e5m3", "e4m4", "e5m0", "2e4m3", "2e3m3", "2u4", "2u6")
_WIDEST_EXPONENT = 5  # more bits buy a range that a scale gives anyway
_PEAKS = (15, 31, 127)  # largest numbers of codebooks, for multipliers of 5, 6 and 8 bits
_DRAWN_BLOCKS = (0, 0, 8, 16, 24, 32, 48, 64)
_DRAWN_BITS = (3, 9)


def element_names(kinds: Sequence[str], bits: tuple[int, int]) -> list[str]:
    """The elements of some `KINDS` with the least to the most bits. Codebooks hold the quantiles of a normal number."""
    found: list[str] = []
    for width in range(bits[0], bits[1] + 1):
        if "integer" in kinds:
            found.append(f"int{width}")
        if "float" in kinds:
            found += [f"fp{width}_e{e}m{width - 1 - e}" for e in range(1, min(_WIDEST_EXPONENT, width - 2) + 1)]
        if "power" in kinds and 3 <= width <= 1 + _WIDEST_EXPONENT:
            found.append(f"fp{width}_e{width - 1}m0")
        if "log" in kinds and width <= 8:
            found += [f"lns{width}_i{i}f{width - 1 - i}" for i in range(max(1, width - 6), min(6, width - 2) + 1)]
        if "codebook" in kinds and width in (3, 4):
            found += [quantiles(width, peak) for peak in _PEAKS]
    return [name for name in found if _is_named(name)]


def quantiles(bits: int, peak: int) -> str:
    """The codebook of evenly spaced quantiles of a normal number, as NF4 has them, scaled to `peak`."""
    half, normal = 1 << (bits - 1), NormalDist()
    offset = 1 - (1 / (4 * half) + 1 / (4 * half - 2)) / 2

    def side(count: int) -> list[float]:
        return [normal.inv_cdf(offset + (0.5 - offset) * i / count) for i in range(count)]

    values = [*side(half), *(-value for value in side(half - 1)), 0.0]
    name = codebook_name(sorted({round(value / max(values) * peak) for value in values}))
    return "nf4" if (bits, peak) == (4, 127) else name


def format_names_of(
    kinds: Sequence[str], bits: tuple[int, int], blocks: Sequence[int], scales: Sequence[str]
) -> list[str]:
    """Every format of these elements, block sizes (0: without) and scale types, by its own name."""
    found = dict.fromkeys(
        own
        for element in element_names(kinds, bits)
        for block in blocks
        for scale in (scales if block else ("",))
        if (own := own_name(element, block, scale))
    )
    return list(found)


def own_name(element: str, block: int, scale: str) -> str:
    """The name of a format of an element, block size and scale type; '' if there is none."""
    name = element if not block else f"{element}_g{block}" + ("" if scale == "fp16" else f"_s{scale}")
    try:
        return get_format(name).name
    except InputError as error:
        nearest = str(error).rpartition("did you mean '")[2].removesuffix("'?")
        return nearest if "a name of its own" in str(error) else ""


def drawn(count: int, seed: int, bits: tuple[int, int] = _DRAWN_BITS) -> list[str]:
    """Different formats at random: every kind of element with options, block size, scale type and rule alike."""
    found: dict[str, None] = {}
    draws = _draws(random.Random(seed), bits)
    while len(found) < count:
        found[next(draws)] = None
    return list(found)


def _draws(rng: random.Random, bits: tuple[int, int]) -> Iterator[str]:
    by_kind = {kind: names for kind in KINDS if (names := element_names([kind], bits))}
    while True:
        kind = rng.choice(list(by_kind))
        element = _book(rng) if kind == "codebook" and rng.random() < 0.5 else rng.choice(by_kind[kind])
        if kind == "float":
            words = rng.choice(["", "", "_finite", "_nan", "_ieee"]) + rng.choice(["", "", "_flush"])
            element += words + rng.choice(["", "", f"_b{rng.randint(0, 9)}"])
        name = own_name(element, rng.choice(_DRAWN_BLOCKS), rng.choice(SCALES))
        if not name:
            continue
        form = get_format(name)
        yield form.with_rule(rng.choice(form.rules)).name


def _book(rng: random.Random) -> str:
    """A codebook of random numbers."""
    peak = rng.choice([7, 31, 127, 1000])
    others = rng.sample(
        [number for number in range(-peak, peak + 1) if number not in (-peak, 0, peak)], rng.randint(1, 12)
    )
    return codebook_name(sorted({-peak, 0, peak, *others}))


def _is_named(name: str) -> bool:
    return bool(own_name(name, 0, ""))
