"""The table of named formats.

``int{b}``, b = 2..16      symmetric, narrow range (int8: -127..127), scale amax/max in float32
``int{b}_g{32,64,128}``    group size 32, 64 or 128, float16 scale, full range; scale amax/((max-min)/2) by default
``..._zp``                 the same with a zero point (unsigned codes), stored in b bits per group
``fp8_e4m3`` .. ``fp4_e2m1``   minifloats with a float32 scale amax/max
``..._token``              a format of the three kinds above: as an activation it takes its float32 scale from the data,
                           one per vector along the contraction; as a weight it is the format without the suffix
``mx...``                  OCP Microscaling: blocks of 32, E8M0 scale, rule floor by default
``nvfp4``                  blocks of 16, E4M3 scale, one float32 scale per tensor
``bf16 fp16 fp32``         casts that saturate at the largest finite number

A suffix selects another scale rule: ``mxfp4_rceil``, ``mxfp4_even``, ``int4_g32_absmax``. Installed packages add
formats through entry points in the group `codesign.formats`, each of which is a `Format` with the entry point's name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

from codesign.errors import InputError, nearest
from codesign.formats.elements import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    E8M0,
    FP16,
    FP32,
    FloatElement,
    IntElement,
)
from codesign.formats.format import TOKEN, Format
from codesign.formats.scaling import Scaling
from codesign.plugins import installed

GROUP = "codesign.formats"  # the group of entry points
_PLAIN = Scaling("slice", FP32, "absmax")
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
        *(Format(name, element, _PLAIN) for name, element in _MINIFLOATS.items()),
        *(Format("mxfp4" if name == "fp4_e2m1" else f"mx{name}", e, _MX) for name, e in _MINIFLOATS.items()),
        # OCP Microscaling 5.3.4: two's complement with 6 fraction bits; the code 0x80 stays unused
        Format("mxint8", IntElement(8, narrow=True, fraction_bits=6), _MX),
        Format("nvfp4", E2M1, _NVFP4),
        Format("bf16", BF16),
        Format("fp16", FP16),
        Format("fp32", FP32),
    ]
}
_INTEGER = re.compile(r"int(?P<bits>[2-9]|1[0-6])(_g(?P<group>32|64|128))?(?P<zp>_zp)?")
_GROUPS = (32, 64, 128)
_LISTED_INTEGERS = (2, 3, 4, 5, 6, 8, 16)
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
    return (*symmetric, *(f"{name}_zp" for name in symmetric), *_FIXED, *_LISTED_TOKENS, *_added())


@cache
def _find(name: str) -> Format | None:
    base = _base(name)
    if base is not None:
        return base
    stem, _, rule = name.rpartition("_")
    base = _base(stem)
    return base.with_rule(rule) if base is not None and rule in base.rules else None


@cache
def _added() -> dict[str, Format]:
    """Formats of installed packages, except names taken here; raises InputError if one is not a Format of its name."""
    found = {}
    for name, point in installed(GROUP).items():
        if name not in _FIXED and _INTEGER.fullmatch(name) is None and not name.endswith(TOKEN):
            added = point.load()
            if not isinstance(added, Format) or added.name != name:
                raise InputError(f"entry point '{name}' of {GROUP}: '{point.value}' is no Format of that name")
            found[name] = added
    return found


def _base(name: str) -> Format | None:
    if name.endswith(TOKEN):
        plain = _base(name.removesuffix(TOKEN))
        if plain is None or plain.scaling is None or plain.scaling.granularity != "slice":
            return None
        return replace(plain, name=name, scaling=replace(plain.scaling, granularity="token"))
    if name in _FIXED:
        return _FIXED[name]
    match = _INTEGER.fullmatch(name)
    if match is None:
        return _added().get(name)
    bits, group, asymmetric = int(match["bits"]), int(match["group"] or 0), match["zp"] is not None
    element = IntElement(bits, signed=not asymmetric, narrow=not asymmetric and not group)
    if not group:
        return Format(name, element, Scaling("slice", FP32, "minmax" if asymmetric else "absmax"))
    return Format(name, element, Scaling("block", FP16, "minmax" if asymmetric else "absmid", block=group))


@cache
def _every_name() -> tuple[str, ...]:
    integers = [f"int{b}{g}{z}" for b in range(2, 17) for g in ("", *(f"_g{n}" for n in _GROUPS)) for z in ("", "_zp")]
    plain = (*integers, *_FIXED, *_added())
    bases = [f for f in map(_base, (*plain, *(f"{name}{TOKEN}" for name in plain))) if f is not None]
    return tuple(f"{f.name}{rule}" for f in bases for rule in ("", *(f"_{rule}" for rule in f.rules[1:])))
