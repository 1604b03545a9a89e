"""The reference of number formats, from the table of formats: a row each, and a worked example each."""

from __future__ import annotations

import torch

from codesign.formats import FloatElement, Format, IntElement, format_names, get_format
from codesign.formats.elements import E8M0

EXAMPLE = (0.02, -0.3, 0.5, 0.74, -1.1, 1.6, -2.4, 3.3)  # one block, or one token, or one slice
RULES = {
    "floor": "2^(floor(log2 amax) - emax)",
    "rceil": "2^ceil(log2(amax / max))",
    "even": "as floor, amax first rounded to the element's mantissa",
    "absmax": "amax / max",
    "absmid": "amax / ((max - min) / 2)",
    "absmin": "amax / -min",
    "minmax": "(high - low) / (max - min), zero point round(-low / scale)",
}


def table() -> str:
    """Every format: bits, element, codes, range, scale, source."""
    head = "| format | bits per element | element | codes | largest | smallest above 0 | a scale for | rule | source |"
    rows = [_row(get_format(name)) for name in format_names()]
    return "\n".join([head, "|---|--:|---|--:|--:|--:|---|---|---|", *rows])


def examples() -> str:
    """Every format on the same eight numbers: scale, codes, and what is read back."""
    numbers = ", ".join(f"{value:g}" for value in EXAMPLE)
    head = "| format | scale | codes | read back |\n|---|---|---|---|"
    rows = [_example(get_format(name)) for name in format_names()]
    return "\n".join([f"The numbers are {numbers}.", "", head, *rows])


def _row(fmt: Format) -> str:
    element, scaling = fmt.element, fmt.scaling
    cells = [
        f"`{fmt.name}`",
        f"{fmt.bits_per_element:g}",
        _element(fmt),
        f"{_codes(fmt):,}",
        f"{element.max_value:.5g}",
        f"{element.step if isinstance(element, IntElement) else element.smallest:.3g}",
        "" if scaling is None else _shared(fmt),
        "a cast" if scaling is None else ", ".join(f"{rule}" for rule in fmt.rules),
        source(fmt),
    ]
    return f"| {' | '.join(cells)} |"


def _element(fmt: Format) -> str:
    element = fmt.element
    if isinstance(element, IntElement):
        kind = "signed" if element.signed else "unsigned"
        point = f", {element.fraction_bits} bits of fraction" if element.fraction_bits else ""
        return f"{kind} integer of {element.bits} bits{point}"
    if isinstance(element, FloatElement):
        specials = {"none": "", "nan": ", NaN", "ieee": ", infinity and NaN"}[element.specials]
        return f"E{element.exponent_bits}M{element.mantissa_bits}, bias {element.bias}{specials}"
    return type(element).__name__


def _codes(fmt: Format) -> int:
    """How many codes are in use; a format whose scale has two levels counts those of its elements."""
    element = fmt.element
    return element.max_code - element.min_code + 1 if isinstance(element, IntElement) else 2**element.bits


def _shared(fmt: Format) -> str:
    scaling = fmt.scaling
    assert scaling is not None
    what = {"slice": "channel, or tensor", "token": "token", "block": f"block of {scaling.block}"}[scaling.granularity]
    bits = (scaling.scale.exponent_bits, scaling.scale.mantissa_bits)
    kind = {(8, 23): "float32", (5, 10): "float16"}.get(bits, "E{}M{}".format(*bits))
    second = ", and one float32 for the tensor" if scaling.tensor_scale else ""
    return f"{what}, {kind}{second}"


def source(fmt: Format) -> str:
    """The specification that says what the format is, by section."""
    element, scaling = fmt.element, fmt.scaling
    if scaling is not None and scaling.scale == E8M0:
        bits = 0 if isinstance(element, IntElement) else element.bits
        section = {8: "5.3.1", 6: "5.3.2", 4: "5.3.3", 0: "5.3.4"}.get(bits, "5.3")
        return f"OCP Microscaling 1.0, {section} and 5.4 (scale), 6.3 (rule floor)"
    if scaling is not None and scaling.tensor_scale is not None:
        return "NVIDIA NVFP4: E2M1 in blocks of 16"
    if isinstance(element, IntElement):
        return "affine quantization, as compressed-tensors stores it"
    if not isinstance(element, FloatElement):
        return "this package"
    if scaling is None:
        return "bfloat16" if element.exponent_bits == 8 and element.bits == 16 else "IEEE 754-2019, 3.4"
    if element.bits == 8 and element.specials != "none":
        return "OCP 8-bit Floating Point 1.0"
    return f"elements of OCP Microscaling 1.0, {'5.3.2' if element.bits == 6 else '5.3.3'}"


def _example(fmt: Format) -> str:
    x = torch.tensor([EXAMPLE])
    stored = fmt.quantize(x, axis=1)
    scales = [] if stored.scales is None else [f"{value:.4g}" for value in stored.scales.flatten().tolist()]
    if stored.tensor_scale is not None:
        scales.append(f"times {float(stored.tensor_scale):.4g} of the tensor")
    if stored.zero_points is not None:
        scales.append(f"zero point {int(stored.zero_points.flatten()[0])}")
    integers = isinstance(fmt.element, IntElement)
    width = (fmt.element.bits + 3) // 4
    raw = stored.codes.flatten().tolist()
    codes = " ".join(str(code) if integers else f"{code & (2**fmt.element.bits - 1):0{width}x}" for code in raw)
    back = " ".join(f"{value:.4g}" for value in stored.dequantize().flatten().tolist())
    return f"| `{fmt.name}` | {', '.join(scales)} | `{codes}` | {back} |"
