"""Verilog of a requantizer: FP32 results to codes of the next layer's format, with scales found in hardware.

What it writes is what `codesign.formats` computes, bit for bit: the range is the largest magnitude, the scale follows
from it by the format's rule, numbers are divided by their scale, rounded to FP32 and then to the element, ties to even.
Scales that are powers of two divide by a subtraction of exponents, all others by an array of restoring steps.
Inputs are finite; subnormal ones are read as zero, as the vector unit writes none.

Ports: clk; x, `lanes` FP32 numbers, lowest first; code, their codes; for the kinds of `Requantizer`
  cast   nothing else (bf16, fp16)
  given  scale, an input, FP32 (per tensor, from calibration), which stays while numbers are on their way
  range  first, which begins a range; largest, an output: the largest magnitude since then, FP32 without its sign;
         range, an input: that magnitude, `lead` clock cycles before each of its numbers passes again; scale, an output,
         FP32 (per token)
  block  scale, an output beside code: the code of the block's scale; a step is one block. With scales of two levels
         also tensor, an input: the tensor's scale, FP32, from calibration, which stays
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from codesign.errors import InputError
from codesign.formats import FloatElement, Format, get_format
from codesign.formats.elements import E8M0, FP32, Element, IntElement
from codesign.formats.scaling import Scaling, carry, divisor_of
from codesign.hardware.rtl.emit import blocks
from codesign.hardware.rtl.emit.expressions import ZERO, constant, joined, replicated, zeros
from codesign.hardware.rtl.emit.numbers import (
    BIAS,
    EXPONENT,
    ONE_AT,
    SIGNIFICAND,
    Number,
    divided,
    either,
    fields,
    fraction_of,
    kept_bits,
    multiplied,
    positive,
    rounded_float,
    rounded_integer,
    shortened,
)
from codesign.hardware.rtl.emit.pipeline import Pipeline, Step
from codesign.hardware.rtl.emit.verilog import Module, Net, NetAssignment


@dataclass(frozen=True)
class Requantizer:
    """A requantizer to a format, of numbers that arrive `lanes` at a time; of a format in blocks a block at a time.

    dynamic: a format with one scale takes it from the data, as per token, instead of from a port. cuts: the steps that
    are followed by pipeline registers (`units.requantizers` chooses them for a clock). Raises InputError for
    formats that have no requantizer: those with zero points, codebooks, logarithms, integer scales or without
    subnormals, and FP32 itself.
    """

    format: str
    lanes: int = 1
    dynamic: bool = False
    cuts: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        found = self.form
        scaling = found.scaling
        if why := _obstacle(found):
            raise InputError(f"no requantizer to {self.format}: {why}; there is one to int8, mxfp8_e4m3 and int4_g32")
        if scaling is not None and scaling.block not in (None, self.lanes):
            raise InputError(f"{self.format} is requantized a block at a time: {scaling.block} lanes, not {self.lanes}")

    @property
    def form(self) -> Format:
        return get_format(self.format)

    @property
    def kind(self) -> str:
        """cast, given, range or block."""
        scaling = self.form.scaling
        if scaling is None:
            return "cast"
        if scaling.block is not None:
            return "block"
        return "range" if self.dynamic or self.form.per_token else "given"


def whole_requantizer(name: str) -> Requantizer:
    """The requantizer to a format that takes a number a cycle, or a block; raises InputError as `Requantizer` does."""
    scaling = get_format(name).scaling
    return Requantizer(name, (scaling.block if scaling is not None else None) or 1)


@dataclass(frozen=True)
class BuiltRequantizer:
    """The Verilog of a requantizer."""

    unit: Requantizer
    name: str  # of the module
    text: str
    latency: Mapping[str, int]  # output -> clock cycles from numbers at x (scale of a range: from `range`) to it
    lead: int  # clock cycles that `range` comes before the numbers that it belongs to; 0 for other kinds
    boundaries: Mapping[str, tuple[str, ...]]  # step that a cut may follow -> names of its output nets, in order
    assignments: tuple[NetAssignment, ...]  # of every wire and register, in the order of the text


def build_requantizer(unit: Requantizer, name: str = "requantize") -> BuiltRequantizer:
    """The requantizer as a module called `name`."""
    m, form = Module(name), unit.form
    x = m.register(m.input("x", 32 * unit.lanes), "x")
    finding, coding = Pipeline(m, unit.cuts, {}), Pipeline(m, unit.cuts, {})
    scale, latency = None, {}
    if unit.kind == "given":
        scale = _given(m, "scale")
    elif unit.kind == "range":
        _range(m, _words(m, x, unit.lanes))
        ranged = m.register(m.input("range", 31), "range")
        found = scale_of(m, finding, ranged, form.element, _scaling(form))
        m.output("scale", m.register(found.code, "scale"))
        scale, latency = found.value, {"largest": 2, "scale": 2 + finding.latency}
    elif unit.kind == "block":
        tensor = _given(m, "tensor") if _scaling(form).tensor_scale is not None else None
        finding.controls = {"x": x}
        largest = _largest(m, _words(m, x, unit.lanes), finding.part("largest"))
        found = scale_of(m, finding, largest, form.element, _scaling(form), tensor)
        scale, x = found.value, finding.controls["x"]
        coding.controls = {"scale": found.code}
    power = _scaling(form).scale == E8M0 if unit.kind == "block" else unit.kind == "cast"
    step, steady = coding.part("code"), unit.kind == "given"
    codes = [_code(m, step, word, scale, form.element, power, steady) for word in _words(m, x, unit.lanes)]
    m.output("code", m.register(m.wire(len(codes) * codes[0].width, joined(*reversed(codes)), "codes"), "codes"))
    latency["code"] = 2 + coding.latency
    if unit.kind == "block":
        m.output("scale", m.register(coding.controls["scale"], "scale"))
        latency["code"] = latency["scale"] = 2 + finding.latency + coding.latency
    m.prune()
    lead = finding.latency if unit.kind == "range" else 0
    boundaries = finding.boundaries | coding.boundaries
    return BuiltRequantizer(unit, name, m.text(), latency, lead, boundaries, tuple(m.assignments))


def _words(m: Module, x: Net, lanes: int) -> list[Net]:
    return [m.wire(32, x.part(32 * i + 31, 32 * i), "word") for i in range(lanes)]


def _given(m: Module, port: str) -> Number:
    """A scale at an FP32 input."""
    given = m.register(m.input(port, 32), port)
    m.ignore(given.bit(31))  # its sign
    return fields(m, m.wire(31, given.part(30, 0), port))


# -- scales ---------------------------------------------------------------------------------------------


class Scale(NamedTuple):
    """A scale as it is stored, and as a number."""

    code: Net
    value: Number


def scale_of(
    m: Module, pipe: Pipeline, largest: Net, element: Element, scaling: Scaling, tensor: Number | None = None
) -> Scale:
    """The scale of numbers whose largest magnitude is `largest`, FP32 without its sign; tensor: the outer of two."""
    if scaling.scale == E8M0:
        return _power_of_two(m, pipe.part("scale"), largest, element, scaling.rule)
    divisor = positive(m, divisor_of(element, scaling.rule))
    wanted = SIGNIFICAND if tensor is not None else kept_bits(scaling.scale)
    quotient = divided(m, pipe.part("scale"), fields(m, largest), divisor, True, wanted)
    zero = m.wire(1, ~quotient.significand.bit(SIGNIFICAND - 1), "zero")
    if scaling.scale == FP32:
        return _single(m, quotient, zero)
    assert isinstance(scaling.scale, FloatElement)
    step = pipe.part("stored")
    if tensor is None:  # the mark of a zero goes where the sign of a number would
        zero, stored = rounded_float(m, step, Number(zero, *quotient[1:]), scaling.scale)
    else:
        ratio = divided(m, pipe.part("ratio"), quotient, tensor, True, kept_bits(scaling.scale))
        _, stored = rounded_float(m, step, ratio, scaling.scale)
    bits = scaling.scale.bits
    stored = m.wire(bits, joined(zeros(bits - stored.width), stored), "stored") if stored.width < bits else stored
    none = m.wire(1, stored.none(), "none")  # the smallest scale is not zero
    one = scaling.scale.bias << scaling.scale.mantissa_bits
    least = m.wire(bits, none.choose(constant(1, bits), stored), "least")
    code = least if tensor is not None else m.wire(bits, zero.choose(constant(one, bits), least), "scale")
    (code,) = step("code", code)
    pipe.controls["code"] = code
    number = blocks.decode_float(m, code, scaling.scale)
    assert number.exponent is not None
    top, distance = blocks.normalise(m, number.significand)
    offset = ONE_AT - scaling.scale.bias
    exponent = joined(zeros(EXPONENT - number.exponent.width), number.exponent) + constant(offset, EXPONENT)
    exponent = exponent - joined(zeros(EXPONENT - distance.width), distance)
    top, placed = step("number", top, m.wire(EXPONENT, exponent, "exp"))
    wide = m.wire(SIGNIFICAND, joined(top, zeros(SIGNIFICAND - top.width)), "sig")
    value = Number(blocks.POSITIVE, placed, wide)
    if tensor is not None:
        value = multiplied(m, step, tensor, value, top.width)
    return Scale(pipe.controls["code"], value)


def _single(m: Module, quotient: Number, zero: Net) -> Scale:
    """A scale in FP32: the smallest normal number where the quotient is less, 1 where it is zero."""
    low = m.wire(1, constant(BIAS + 1, EXPONENT).exceeds(quotient.exponent), "low")
    value = either(m, low, positive(m, 2.0**-126), quotient)
    value = either(m, zero, positive(m, 1.0), value)
    field = m.wire(EXPONENT, value.exponent - constant(BIAS, EXPONENT), "field")
    m.ignore(field.part(EXPONENT - 1, 8))
    return Scale(m.wire(32, joined(ZERO, field.part(7, 0), value.significand.part(22, 0)), "scale"), value)


def _power_of_two(m: Module, step: Step, largest: Net, element: Element, rule: str) -> Scale:
    """An E8M0 scale: the exponent of the largest magnitude less that of the element's, one more above a threshold."""
    field = m.wire(EXPONENT, joined(zeros(EXPONENT - 8), largest.part(30, 23)), "field")
    raw = m.wire(EXPONENT, field + constant(ONE_AT - element.emax, EXPONENT), "raw")  # 512 + code
    if rule == "floor":
        m.ignore(largest.part(22, 0))
    else:
        fraction = m.wire(23, largest.part(22, 0), "fraction")
        threshold = constant(fraction_of(element.max_value if rule == "rceil" else carry(element)), 23)
        above = fraction.exceeds(threshold) if rule == "rceil" else fraction.reaches(threshold)
        more = m.wire(1, above, "more")
        raw = m.wire(EXPONENT, raw + joined(zeros(EXPONENT - 1), more), "raw")
    none = m.wire(1, field.none(), "zero")
    m.ignore(raw.bit(EXPONENT - 2))
    inside = m.wire(8, raw.bit(EXPONENT - 1).choose(raw.part(7, 0), zeros(8)), "inside")
    if element.emax == 0 and rule != "floor":  # 255 is NaN
        inside = m.wire(8, inside.equals(constant(255, 8)).grouped().choose(constant(254, 8), inside), "inside")
    (code,) = step("code", m.wire(8, none.choose(constant(127, 8), inside), "scale"))
    exponent = m.wire(EXPONENT, joined(zeros(EXPONENT - 8), code) + constant(BIAS, EXPONENT), "exp")
    return Scale(
        code,
        Number(blocks.POSITIVE, exponent, m.wire(SIGNIFICAND, constant(1 << (SIGNIFICAND - 1), SIGNIFICAND), "sig")),
    )


def _range(m: Module, words: list[Net]) -> None:
    """The largest magnitude since `first`, at the output `largest`."""
    first = m.register(m.input("first", 1), "first")
    largest = m.late(31, "largest")
    kept = m.wire(31, largest & replicated(31, ~first), "kept")
    m.drive(largest, blocks.maximum(m, [kept, _largest(m, words)]))
    m.output("largest", largest)


def _largest(m: Module, words: list[Net], step: Step | None = None) -> Net:
    """The largest magnitude, by a tree of comparators; step: after each of its levels."""
    level = [m.wire(31, word.part(30, 0), "magnitude") for word in words]
    for word in words:
        m.ignore(word.bit(31))
    while len(level) > 1:
        level = [blocks.maximum(m, level[i : i + 2]) for i in range(0, len(level), 2)]
        if step is not None:
            level = list(step(f"of {len(level)}", *level))
    return level[0]


def _code(m: Module, step: Step, word: Net, scale: Number | None, element: Element, power: bool, steady: bool) -> Net:
    """The code of a number divided by its scale; power: the scale is a power of two; steady: it does not change."""
    if scale is None and isinstance(element, FloatElement) and element.emin == FP32.emin:
        return m.wire(element.bits, joined(*shortened(m, step, word, element)), "code")
    x = fields(m, word)
    if scale is not None and power:
        exponent = m.wire(EXPONENT, x.exponent + constant(ONE_AT, EXPONENT) - scale.exponent, "exp")
        x = Number(*step("scaled", x.sign, exponent, x.significand))
    elif scale is not None:
        assert isinstance(element, IntElement | FloatElement)
        x = divided(m, step, x, scale, steady, kept_bits(element))
    if isinstance(element, IntElement):
        return rounded_integer(m, step, x, element)
    assert isinstance(element, FloatElement)
    return m.wire(element.bits, joined(*rounded_float(m, step, x, element)), "code")


def _obstacle(form: Format) -> str:
    """Why there is no requantizer to a format; empty if there is one."""
    element, scaling = form.element, form.scaling
    if element == FP32:
        return "results have it already"
    if form.has_zero_point:
        return "it has zero points"
    if not isinstance(element, IntElement | FloatElement):
        return "its elements are neither integers nor floats"
    scale = scaling.scale if scaling is not None else FP32
    if isinstance(scale, IntElement):
        return "its scales are integers"
    floats = [x for x in (element, scale) if isinstance(x, FloatElement) and x != E8M0]
    if not all(x.subnormals and x.mantissa_bits and x.signed for x in floats):
        return "it has floats without a sign, a mantissa or subnormals"
    return ""


def _scaling(form: Format) -> Scaling:
    assert form.scaling is not None
    return form.scaling
