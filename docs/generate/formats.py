"""The reference of number formats, from the table of formats: a row each, and a worked example each."""

from __future__ import annotations

import torch

from codesign.formats import FloatElement, Format, IntElement, format_names, get_format, grammar
from codesign.formats.elements import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0
from codesign.formats.scaling import ScaleElement
from codesign.formats.tabulated import NF4, CodebookElement, LogElement

EXAMPLE = (0.02, -0.3, 0.5, 0.74, -1.1, 1.6, -2.4, 3.3)  # one block, or one token, or one slice
# of those that the grammar makes beside the table
WRITTEN = (
    *("fp7_e3m3", "fp4_e3m0", "fp5_e2m2_g32_se8m0", "int4_g24_se5m3", "int4_g16_s2u4", "nf4", "nf4_g64", "lns6_i3f2"),
    "lut3_n4_n1_0_1_4",
)
_OCP = {E4M3: "5.3.1", E5M2: "5.3.1", E3M2: "5.3.2", E2M3: "5.3.2", E2M1: "5.3.3"}


def names() -> tuple[str, ...]:
    """The formats of the page: all of the table, and some that the grammar makes."""
    return (*format_names(), *WRITTEN)


def rules_of_names() -> str:
    """The grammar of names, as its module says it."""
    return f"```text\n{(grammar.__doc__ or '').partition(chr(10))[2].strip(chr(10))}\n```"


def table() -> str:
    """Every format: bits, element, codes, range, scale, source."""
    head = "| format | bits per element | element | codes | largest | smallest above 0 | a scale for | rule | source |"
    rows = [_row(get_format(name)) for name in names()]
    return "\n".join([head, "|---|--:|---|--:|--:|--:|---|---|---|", *rows])


def examples() -> str:
    """Every format on the same eight numbers: scale, codes, and what is read back."""
    numbers = ", ".join(f"{value:g}" for value in EXAMPLE)
    head = "| format | scale | codes | read back |\n|---|---|---|---|"
    rows = [_example(get_format(name)) for name in names()]
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
        flushed = "" if element.subnormals else ", no subnormals"
        return f"E{element.exponent_bits}M{element.mantissa_bits}, bias {element.bias}{specials}{flushed}"
    if isinstance(element, LogElement):
        return f"sign, and logarithm of {element.integer_bits} integer and {element.fraction_bits} fraction bits"
    return f"codebook of {len(element.numbers)} integers"


def _codes(fmt: Format) -> int:
    """How many codes are in use."""
    element = fmt.element
    if isinstance(element, IntElement):
        return element.max_code - element.min_code + 1
    return 2**element.bits if isinstance(element, FloatElement) else len(element.listed)


def _shared(fmt: Format) -> str:
    scaling = fmt.scaling
    assert scaling is not None
    what = {"slice": "channel, or tensor", "token": "token", "block": f"block of {scaling.block}"}[scaling.granularity]
    second = ", and one float32 for the tensor" if scaling.tensor_scale else ""
    return f"{what}, {_scale(scaling.scale)}{second}"


def _scale(scale: ScaleElement) -> str:
    if isinstance(scale, IntElement):
        return f"unsigned integer of {scale.bits} bits"
    bits = (scale.exponent_bits, scale.mantissa_bits)
    return {(8, 23): "float32", (5, 10): "float16"}.get(bits, "E{}M{}".format(*bits))


def source(fmt: Format) -> str:
    """The specification that says what the format is, by section, or the paper that it is from."""
    element, scaling = fmt.element, fmt.scaling
    if scaling is None:
        return "bfloat16" if fmt.name == "bf16" else "IEEE 754-2019, 3.4"
    if scaling.scale == E8M0 and scaling.block == 32 and (element in _OCP or fmt.name.startswith("mx")):
        return f"OCP Microscaling 1.0, {_OCP.get(element, '5.3.4')} and 5.4 (scale), 6.3 (rule floor)"
    if element == E2M1 and scaling.scale == E4M3 and scaling.tensor_scale is not None and scaling.block == 16:
        return "NVIDIA NVFP4: E2M1 in blocks of 16"
    if isinstance(scaling.scale, IntElement):
        return "Dai et al. 2021, VS-Quant"
    if element == NF4:
        return "Dettmers et al. 2023, QLoRA, as integers"
    if isinstance(element, (CodebookElement, LogElement)):
        return "grammar of names"
    if isinstance(element, IntElement):
        return "affine quantization, as compressed-tensors stores it"
    if element in (E4M3, E5M2):
        return "OCP 8-bit Floating Point 1.0"
    return f"elements of OCP Microscaling 1.0, {_OCP[element]}" if element in _OCP else "grammar of names"


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
