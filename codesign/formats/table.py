"""The table of named formats.

``int8``                   an integer of 2 to 16 bits: symmetric, narrow range (-127..127), scale amax/max in float32
``int4_g32``               groups of 32, float16 scale, full range; scale amax/((max-min)/2) by default
``..._zp``                 integers with a zero point (unsigned codes), stored in b bits per group
``fp8_e4m3``               minifloats with a float32 scale amax/max
``..._token``              a format of the kinds above without groups: as an activation it takes its float32 scale from
                           the data, one per vector along the contraction; as a weight it is the format without the
                           suffix
``mx...``                  OCP Microscaling: blocks of 32, E8M0 scale, rule floor by default
``nvfp4``                  blocks of 16, E4M3 scale, one float32 scale per tensor
``bf16 fp16 fp32``         casts that saturate at the largest finite number

All but the last three kinds, and logarithmic numbers, codebooks and other scale types, come from one `grammar`.

A suffix selects another scale rule: ``mxfp4_rceil``, ``mxfp4_even``, ``int4_g32_absmax``. Installed packages add
formats through entry points in the group `codesign.formats`, each of which is a `Format` with the entry point's name.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from codesign.errors import InputError, nearest
from codesign.formats import grammar
from codesign.formats.elements import BF16, E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, FP16, FP32, FloatElement, IntElement
from codesign.formats.format import TOKEN, Format
from codesign.formats.scaling import Scaling
from codesign.formats.tabulated import NF4, CodebookElement
from codesign.plugins import installed

GROUP = "codesign.formats"  # the group of entry points
_MX = Scaling("block", E8M0, "floor", block=32)
_NVFP4 = Scaling("block", E4M3, "absmax", block=16, tensor_scale=FP32)
_MINIFLOATS: dict[str, FloatElement] = {
    "fp8_e4m3": E4M3,
    "fp8_e5m2": E5M2,
    "fp6_e3m2": E3M2,
    "fp6_e2m3": E2M3,
    "fp4_e2m1": E2M1,
}
_FIXED: dict[str, Format] = {
    f.name: f
    for f in [
        *(Format("mxfp4" if name == "fp4_e2m1" else f"mx{name}", e, _MX) for name, e in _MINIFLOATS.items()),
        # OCP Microscaling 5.3.4: two's complement with 6 fraction bits; the code 0x80 stays unused
        Format("mxint8", IntElement(8, narrow=True, fraction_bits=6), _MX),
        Format("nvfp4", E2M1, _NVFP4),
        Format("bf16", BF16),
        Format("fp16", FP16),
        Format("fp32", FP32),
    ]
}
_GROUPS = (32, 64, 128)
_LISTED_INTEGERS = (2, 3, 4, 5, 6, 8, 16)
# others of the grammar, for a mistaken name to be near to
_EXAMPLES = ("fp5_e2m2", "fp4_e3m0", "fp8_e3m4", "lns6_i3f2", "lns4_i2f1", "nf4", "lut3_n4_n2_n1_0_1_2_4")
_RULES = ("floor", "rceil", "even", "absmax", "absmid", "absmin")
_LISTED_TOKENS = tuple(f"{name}{TOKEN}" for name in ("int8", "int4", "fp8_e4m3", "fp4_e2m1"))


def get_format(name: str) -> Format:
    """The format called `name`; raises InputError with the nearest name if it is unknown."""
    found = _find(name)
    if found is None:
        raise InputError(f"unknown format '{name}'{nearest(name, _every_name())}")
    return found


def format_names() -> tuple[str, ...]:
    """Names of the formats with their default rules; integers of the usual widths only."""
    grouped = [f"int{bits}_g{group}" for bits in _LISTED_INTEGERS[:-1] for group in _GROUPS]
    symmetric = [f"int{bits}" for bits in _LISTED_INTEGERS] + grouped
    return (*symmetric, *(f"{name}_zp" for name in symmetric), *_MINIFLOATS, *_FIXED, *_LISTED_TOKENS, *_added())


@cache
def _find(name: str) -> Format | None:
    stem, _, rule = name.rpartition("_")
    if rule not in _RULES or name in _added():
        return _base(name)
    base = _base(stem)
    if base is not None and rule not in base.rules:
        others = [f"{stem}_{each}" for each in base.rules[1:]] or [stem]
        raise InputError(f"unknown format '{name}': {stem} has no rule '{rule}'{nearest(name, others)}")
    return base if base is None else base.with_rule(rule)


@cache
def _added() -> dict[str, Format]:
    """Formats of installed packages, except names taken here; raises InputError if one is not a Format of its name."""
    found = {}
    for name, point in installed(GROUP).items():
        if name not in _FIXED and not name.endswith(TOKEN) and not _is_of_grammar(name):
            added = point.load()
            if not isinstance(added, Format) or added.name != name:
                raise InputError(f"entry point '{name}' of {GROUP}: '{point.value}' is no Format of that name")
            found[name] = added
    return found


def _is_of_grammar(name: str) -> bool:
    try:
        return grammar.parse(name) is not None
    except InputError:
        return False


def _base(name: str) -> Format | None:
    """A format with its default rule."""
    if name.endswith(TOKEN):
        plain = _base(name.removesuffix(TOKEN))
        if plain is None:
            return None
        if plain.scaling is None or plain.scaling.granularity != "slice":
            reason = "only formats with one scale for a whole vector have one per token"
            raise InputError(f"unknown format '{name}': {reason}; did you mean '{plain.name}'?")
        return replace(plain, name=name, scaling=replace(plain.scaling, granularity="token"))
    found = _FIXED.get(name) or _added().get(name)
    if found is not None:
        return found
    found = grammar.parse(name)
    if found is not None:
        own = next((each.name for each in _FIXED.values() if _alike(each, found)), None)
        if own is None and isinstance(found.element, CodebookElement) and found.element == NF4:
            own = name.replace(name[: name.index("_127") + len("_127")], "nf4", 1) if name[:3] == "lut" else None
        if own is not None:
            raise InputError(f"unknown format '{name}': it has a name of its own; did you mean '{own}'?")
    return found


def _alike(one: Format, other: Format) -> bool:
    return (one.element, one.scaling) == (other.element, other.scaling)


@cache
def _every_name() -> tuple[str, ...]:
    integers = [f"int{b}{g}{z}" for b in range(2, 17) for g in ("", *(f"_g{n}" for n in _GROUPS)) for z in ("", "_zp")]
    blocks = (*(name for name in integers if "_g" in name), *_FIXED)
    slices = (*(name for name in integers if "_g" not in name), *_MINIFLOATS, *_EXAMPLES)
    bases = [get_format(name) for name in (*slices, *blocks, *_added(), *(f"{name}{TOKEN}" for name in slices))]
    return tuple(f"{f.name}{rule}" for f in bases for rule in ("", *(f"_{rule}" for rule in f.rules[1:])))
