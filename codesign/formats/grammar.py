"""The grammar of format names: every format that can be written has one name, and `parse` reads it.

    format   = element [_gN [_sSCALE]] [_zp] [_RULE]        element [_zp] [_token]
    element  = intB              integer of B = 2 to 16 bits
             | fpB_eXmY[OPTIONS] minifloat: sign, X = 1 to 7 exponent bits, Y = 0 to 10 mantissa bits; B = 1 + X + Y
             | lnsB_iXfY         logarithm: sign, X = 1 to 6 integer and Y = 1 to 5 fraction bits; B = 1 + X + Y <= 8
             | nf4 | lutB_V_V... codebook of up to 16 ascending integers, nV for negative ones, 0 among them
    OPTIONS  = [_finite | _nan | _ieee] [_flush] [_bN]
    SCALE    = eXmY | fp16 | bf16 | fp32 | 2eXmY | 2uB

``_finite``: every code is a number; ``_nan``: the code of all ones is NaN; ``_ieee``: the top exponent holds infinity
and NaN. Without a word a minifloat is finite, but e4m3 has NaN and e5m2 is IEEE-like, as OCP defines them.
``_flush``: no subnormals. ``_bN``: exponent bias N instead of 2**(X-1) - 1. Y = 0 is a power of two with zero.

``_gN``: blocks of N = 2 to 1024 elements share a scale: in fp16, or in the type after ``_s``. A scale's eXmY has no
sign, but e4m3 and e5m2 are bytes of OCP, and e8m0 its power of two; a leading 2 adds a second level, a float32 scale
of the tensor. ``2uB`` is VS-Quant's: an unsigned integer of B = 2 to 8 bits. Without ``_g`` there is a float32 scale a
tensor, output channel or token.

Formats with a name of their own (``mxfp4`` is ``fp4_e2m1_g32_se8m0``) have no second one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from typing import NoReturn

from codesign.errors import InputError
from codesign.formats.elements import BF16, E4M3, E5M2, E8M0, FP16, FP32, Element, FloatElement, IntElement, Specials
from codesign.formats.format import Format
from codesign.formats.scaling import ScaleElement, Scaling
from codesign.formats.tabulated import NF4, CodebookElement, LogElement

LARGEST_BLOCK = 1024
LARGEST_NUMBER = 32767  # of a codebook: a multiplier takes integers of up to 16 bits
_INTEGER = re.compile(r"int(\d+)")
_FLOAT = re.compile(r"fp(\d+)_e(\d+)m(\d+)")
_LOG = re.compile(r"lns(\d+)_i(\d+)f(\d+)")
_CODEBOOK = re.compile(r"lut(\d+)((?:_n?\d+)+)")
_SPECIALS: dict[str, Specials] = {"finite": "none", "nan": "nan", "ieee": "ieee"}
_OCP_SPECIALS: dict[tuple[int, int], Specials] = {(4, 3): "nan", (5, 2): "ieee"}
_NATIVE_SCALES = {"fp16": FP16, "bf16": BF16, "fp32": FP32}
_OCP_SCALES = {(4, 3): E4M3, (5, 2): E5M2, (8, 0): E8M0}
_SCALES = "e8m0, e4m3, e5m3, fp16, 2e4m3, 2u4"


def parse(name: str) -> Format | None:
    """The format of a name without a rule and ``_token``; None if it begins with no element.

    A name that is another spelling of a shorter one is parsed, too: `table.get_format` refuses it. Raises InputError
    that says what is wrong, and what is right.
    """
    found = _element(name)
    if found is None:
        return None
    if re.search(r"(?<!\d)0\d", name):
        _wrong(name, "numbers have no leading zeros", re.sub(r"(?<!\d)0+(?=\d)", "", name))
    element, rest = found
    block, scale, two = _block(name, rest)
    zero_point = _taken(rest, "zp")
    if rest:
        known = name.removesuffix("_" + "_".join(rest))
        others = [known, *(f"{known}_{word}" for word in (("zp",) if block else ("g32", "zp", "token")))]
        _wrong(name, f"'_{rest[0]}' means nothing here", get_close_matches(name, others, 1, 0)[0])
    if zero_point and not isinstance(element, IntElement):
        _wrong(name, "only integers have a zero point", name.replace("_zp", ""))
    if zero_point and two:
        _wrong(name, "scales of two levels have no zero point", name.replace("_zp", ""))
    if isinstance(element, IntElement):
        element = replace(element, signed=not zero_point, narrow=not zero_point and not block)
    if not block:
        return Format(name, element, Scaling("slice", FP32, "minmax" if zero_point else "absmax"))
    scaling = Scaling("block", scale, "minmax" if zero_point else "absmax", block, FP32 if two else None)
    return Format(name, element, replace(scaling, rule=scaling.rules(element)[0]))


def _element(name: str) -> tuple[Element, list[str]] | None:
    """The element that a name begins with, and the words behind it; None if it begins with none."""
    readers: list[tuple[re.Pattern[str], Callable[[str, re.Match[str], list[str]], Element]]] = [
        (re.compile("nf4"), lambda *_: NF4),
        (_INTEGER, _integer),
        (_FLOAT, _float),
        (_LOG, _log),
        (_CODEBOOK, _codebook),
    ]
    for pattern, read in readers:
        match = pattern.match(name)
        if match is not None and (match.end() == len(name) or name[match.end()] == "_"):
            rest = name[match.end() + 1 :].split("_") if match.end() < len(name) else []
            return read(name, match, rest), rest
    return None


def _integer(name: str, match: re.Match[str], rest: list[str]) -> Element:
    bits = int(match[1])
    _within(name, "bits of an integer", bits, 2, 16, match[0], lambda n: f"int{n}")
    return IntElement(bits)


def _float(name: str, match: re.Match[str], rest: list[str]) -> Element:
    bits, exponent, mantissa = (int(each) for each in match.groups())
    e, m = min(max(exponent, 1), 7), min(mantissa, 10)
    if (e, m) != (exponent, mantissa):
        right = name.replace(match[0], f"fp{1 + e + m}_e{e}m{m}", 1)
        _wrong(name, "a minifloat has 1 to 7 exponent and 0 to 10 mantissa bits", right)
    if bits != 1 + exponent + mantissa:
        total, rest_bits = 1 + exponent + mantissa, bits - 1 - exponent
        fits = 0 <= rest_bits <= 10 and exponent + rest_bits >= 2
        right = f"fp{bits}_e{exponent}m{rest_bits}" if fits else f"fp{total}_e{exponent}m{mantissa}"
        _wrong(name, f"a sign, {exponent} and {mantissa} bits are {total}", name.replace(match[0], right))
    if exponent + mantissa < 2:
        _wrong(name, "a sign and one bit are too few", "fp3_e1m1")
    usual = _OCP_SPECIALS.get((exponent, mantissa), "none")
    specials = usual
    for word, found in _SPECIALS.items():
        if _taken(rest, word):
            if found == usual:
                _wrong(name, f"e{exponent}m{mantissa} is so already", name.replace(f"_{word}", "", 1))
            specials = found
            break
    if specials == "ieee" and (exponent == 1 or mantissa == 0):
        _wrong(name, "infinity and NaN need two exponent bits and a mantissa", name.replace("_ieee", "", 1))
    flush = _taken(rest, "flush")
    if flush and mantissa == 0:
        _wrong(name, "powers of two have no subnormals", name.replace("_flush", "", 1))
    usual_bias = (1 << (exponent - 1)) - 1
    bias = _number(rest, "b")
    if bias == usual_bias:
        _wrong(name, f"{bias} is the bias of {exponent} exponent bits already", name.replace(f"_b{bias}", "", 1))
    if bias is not None:
        _within(name, "bias", bias, 0, 64, f"_b{bias}", lambda n: f"_b{n}")
    return FloatElement(exponent, mantissa, usual_bias if bias is None else bias, specials, subnormals=not flush)


def _log(name: str, match: re.Match[str], rest: list[str]) -> Element:
    bits, integer, fraction = (int(each) for each in match.groups())
    if fraction == 0 and 1 <= integer <= 7:
        _wrong(name, "a logarithm without fraction is a power of two", f"fp{1 + integer}_e{integer}m0")
    _within(name, "integer bits", integer, 1, 6, f"i{integer}f", lambda n: f"i{n}f")
    _within(name, "fraction bits", fraction, 1, 5, f"f{fraction}", lambda n: f"f{n}")
    right = 1 + integer + fraction
    if right > 8:
        _wrong(name, f"a logarithm has at most 8 bits, not {right}", f"lns8_i{min(integer, 6)}f{7 - min(integer, 6)}")
    if bits != right:
        _wrong(name, f"a sign, {integer} and {fraction} bits are {right}", f"lns{right}_i{integer}f{fraction}")
    return LogElement(integer, fraction)


def _codebook(name: str, match: re.Match[str], rest: list[str]) -> Element:
    numbers = tuple(int(each.replace("n", "-")) for each in match[2][1:].split("_"))
    ordered = sorted({0, *numbers})
    if len(numbers) > 16:
        _wrong(name, f"a codebook has at most 16 numbers, not {len(numbers)}", "nf4")
    if list(numbers) != ordered:
        _wrong(name, "numbers are ascending, and 0 is one of them", codebook_name(ordered))
    if not numbers[0] < 0 < numbers[-1]:
        _wrong(name, "a codebook has numbers of both signs", codebook_name(sorted({-1, *numbers, 1})))
    if max(-numbers[0], numbers[-1]) > LARGEST_NUMBER:
        kept = {max(-LARGEST_NUMBER, min(LARGEST_NUMBER, number)) for number in numbers}
        _wrong(name, f"a multiplier takes -{LARGEST_NUMBER} to {LARGEST_NUMBER}", codebook_name(sorted(kept)))
    if name != (right := name.replace(match[0], codebook_name(list(numbers)), 1)):
        _wrong(name, f"{len(numbers)} numbers take {CodebookElement(numbers).bits} bits", right)
    return CodebookElement(numbers)


def codebook_name(numbers: list[int]) -> str:
    """The name of a codebook's element."""
    bits = CodebookElement(tuple(numbers)).bits
    return f"lut{bits}_" + "_".join(f"n{-number}" if number < 0 else str(number) for number in numbers)


def _block(name: str, rest: list[str]) -> tuple[int, ScaleElement, bool]:
    """Block size (0 without), scale type and whether there are two levels, from the words behind an element."""
    block = _number(rest, "g")
    if block is None:
        if rest and re.match(r"s(\d?[eu]\d|fp|bf)", rest[0]):
            _wrong(name, "a scale type goes with blocks", name.replace(f"_{rest[0]}", f"_g32_{rest[0]}", 1))
        return 0, FP32, False
    _within(name, "block size", block, 2, LARGEST_BLOCK, f"_g{block}", lambda n: f"_g{n}")
    if not rest or not (match := re.fullmatch(r"s(\d?)(e(\d+)m(\d+)|u(\d+)|fp16|bf16|fp32)", rest[0])):
        if rest and re.match(r"s[\deufb]", rest[0]):
            _wrong(name, f"a scale is one of {_SCALES}, and others like them", name.replace(rest[0], "se8m0", 1))
        return block, FP16, False
    word = rest.pop(0)
    if match[1] not in ("", "2"):
        _wrong(name, "scales have one level or 2", name.replace(word, f"s2{match[2]}", 1))
    two = match[1] == "2"
    if match[2] in _NATIVE_SCALES:
        if two or match[2] == "fp16":
            right = f"_s{match[2]}" if match[2] != "fp16" else ""
            reason = "a second level goes with small scales" if two else "fp16 is the scale of blocks already"
            _wrong(name, reason, name.replace(f"_{word}", right, 1))
        return block, _NATIVE_SCALES[match[2]], False
    if match[5]:
        bits = int(match[5])
        _within(name, "bits of an integer scale", bits, 2, 8, f"u{bits}", lambda n: f"u{n}")
        if not two:
            _wrong(name, "an integer scale needs a second level", name.replace(word, f"s2u{bits}", 1))
        return block, IntElement(bits, signed=False), True
    exponent, mantissa = int(match[3]), int(match[4])
    if (exponent, mantissa) not in _OCP_SCALES:
        _within(name, "exponent bits of a scale", exponent, 2, 7, f"e{exponent}m", lambda n: f"e{n}m")
        _within(name, "mantissa bits of a scale", mantissa, 0, 8 - exponent, f"m{mantissa}", lambda n: f"m{n}")
    if two and (exponent, mantissa) == (8, 0):
        _wrong(name, "e8m0 has the range of float32 and needs no second level", name.replace(word, "se8m0", 1))
    own = FloatElement(exponent, mantissa, (1 << (exponent - 1)) - 1, signed=False)
    return block, _OCP_SCALES.get((exponent, mantissa), own), two


def _taken(rest: list[str], word: str) -> bool:
    """Take a word from the front."""
    if rest and rest[0] == word:
        rest.pop(0)
        return True
    return False


def _number(rest: list[str], letter: str) -> int | None:
    """Take a word of a letter and a number from the front."""
    if rest and re.fullmatch(rf"{letter}\d+", rest[0]):
        return int(rest.pop(0)[1:])
    return None


def _within(name: str, what: str, value: int, least: int, most: int, word: str, right: Callable[[int], str]) -> None:
    if not least <= value <= most:
        nearest = right(min(max(value, least), most))
        _wrong(name, f"{what}: {least} to {most}, not {value}", name.replace(word, nearest, 1))


def _wrong(name: str, reason: str, right: str) -> NoReturn:
    raise InputError(f"unknown format '{name}': {reason}; did you mean '{right}'?")
