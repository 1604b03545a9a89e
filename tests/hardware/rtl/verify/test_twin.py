"""The software twin of a unit against exact fractions, and the corners of its arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.hardware.rtl.verify.twin import Twin
from tests.hardware.rtl.verify.reference import (
    E8M0,
    MINIFLOATS,
    Arithmetic,
    Element,
    accumulate,
    integer,
    minifloat,
    real,
    rounded,
)

E4M3, FP16 = MINIFLOATS["fp8_e4m3"], MINIFLOATS["fp16"]
INT = Arithmetic(bits=32)
FP32, A16 = Arithmetic(25, "fp32"), Arithmetic(16, "fp32")
HALF = Arithmetic(16, "fp16")
EXACT32 = Arithmetic(0, "fp32")  # exact inside a block, fp32 over blocks; also integers in fp32


def fixed(bits: int) -> Arithmetic:
    return Arithmetic(bits=bits)


@dataclass(frozen=True)
class Case:
    pair: str
    accumulator: str
    lanes: int
    weight: Element
    activation: Element
    arithmetic: Arithmetic
    interleave: int = 1

    @property
    def sides(self) -> tuple[Element, Element]:
        return self.weight, self.activation

    def twin(self) -> Twin:
        return Twin(FormatPair.parse(self.pair), self.accumulator, self.lanes, self.interleave)

    def __str__(self) -> str:
        return f"{self.pair} {self.accumulator} x{self.lanes}/{self.interleave}"


I2, I4, I8, I9, I16 = (integer(b) for b in (2, 4, 8, 9, 16))
M8, M5, M32, M23, M21, BF, F16, F32 = (minifloat(n) for n in MINIFLOATS)
MX8, MX5, MX32, MX23, MX4 = (minifloat(n, E8M0, 32) for n in list(MINIFLOATS)[:5])
MXI, NV = integer(8, 6, E8M0, 32), minifloat("fp4_e2m1", E4M3, 16)
G4, G4Z, G64 = integer(4, 0, FP16, 32), integer(5, 0, FP16, 32), integer(4, 0, FP16, 64)
G16Z = integer(17, 0, FP16, 32)

CASES = [
    Case("int8:int8", "auto", 1, I8, I8, INT),
    Case("int8:int8", "int24", 4, I8, I8, fixed(24)),
    Case("int4:int8", "int16", 16, I4, I8, fixed(16)),
    Case("int8:int8", "int16_sat", 4, I8, I8, Arithmetic(bits=16, saturates=True)),
    Case("int16:int16", "int64_sat", 4, I16, I16, Arithmetic(bits=64, saturates=True)),
    Case("fp4_e2m1:fp4_e2m1", "exact10_sat", 8, M21, M21, Arithmetic(bits=10, saturates=True)),
    Case("int2:int8", "exact", 4, I2, I8, fixed(2 + 8 + 12)),
    Case("int8_zp:int8_zp", "auto", 4, I9, I9, INT),
    Case("int16:int16", "int62", 4, I16, I16, fixed(62)),
    Case("int16:int16", "int64", 4, I16, I16, fixed(64)),
    Case("int8:int8", "fp32", 8, I8, I8, EXACT32),
    Case("int8:int8", "fp16", 2, I8, I8, Arithmetic(0, "fp16")),
    Case("int16:int16", "aligned16", 8, I16, I16, EXACT32),
    *(
        Case(f"{n}:{n}", "fp32", 1, e, e, FP32)
        for n, e in zip(list(MINIFLOATS)[:7], (M8, M5, M32, M23, M21, BF, F16), strict=True)
    ),
    *(
        Case(f"{n}:{n}", "auto", 8, e, e, FP32)
        for n, e in zip(list(MINIFLOATS)[:7], (M8, M5, M32, M23, M21, BF, F16), strict=True)
    ),
    Case("fp8_e4m3:fp8_e5m2", "aligned16", 4, M8, M5, A16),
    Case("fp6_e3m2:fp8_e4m3", "aligned6", 4, M32, M8, Arithmetic(6, "fp32")),
    Case("fp16:bf16", "aligned12", 4, F16, BF, Arithmetic(12, "fp32")),
    Case("fp16:fp16", "aligned50", 16, F16, F16, Arithmetic(50, "fp32")),
    Case("bf16:bf16", "aligned80", 4, BF, BF, Arithmetic(80, "fp32")),
    Case("fp16:fp16", "fp16", 1, F16, F16, HALF),
    Case("fp32:fp32", "fp32", 1, F32, F32, FP32),
    Case("fp32:fp32", "fp32", 4, F32, F32, FP32),
    Case("fp16:fp16", "fp16", 4, F16, F16, HALF),
    Case("fp8_e5m2:fp8_e5m2", "fp16", 4, M5, M5, HALF),
    Case("fp4_e2m1:fp4_e2m1", "exact", 16, M21, M21, fixed(8 + 12)),
    Case("fp8_e4m3:fp8_e4m3", "exact", 16, M8, M8, fixed(2 * 18 + 12)),
    Case("fp8_e4m3:fp8_e4m3", "exact40", 4, M8, M8, fixed(40)),
    Case("fp8_e5m2:fp8_e5m2", "exact", 4, M5, M5, fixed(2 * 32 + 12)),
    Case("fp8_e5m2:fp8_e5m2", "exact48", 4, M5, M5, fixed(48)),
    Case("fp16:fp16", "exact", 4, F16, F16, fixed(2 * 40 + 12)),
    Case("int4:fp8_e4m3", "auto", 8, I4, M8, FP32),
    Case("fp8_e4m3:int8", "aligned16", 4, M8, I8, A16),
    Case("int8:fp16", "exact", 4, I8, F16, fixed(8 + 40 + 12)),
    Case("int4:bf16", "auto", 1, I4, BF, FP32),
    *(
        Case(f"{n}:{n}", "auto", 16, e, e, FP32)
        for n, e in zip(
            ("mxfp8_e4m3", "mxfp8_e5m2", "mxfp6_e3m2", "mxfp6_e2m3", "mxfp4"), (MX8, MX5, MX32, MX23, MX4), strict=True
        )
    ),
    Case("mxfp8_e4m3:mxfp8_e4m3", "exact", 32, MX8, MX8, EXACT32),
    Case("mxfp8_e5m2:mxfp8_e5m2", "exact", 4, MX5, MX5, EXACT32),
    Case("mxfp8_e4m3:mxfp4", "aligned16", 1, MX8, MX4, A16),
    Case("mxfp6_e2m3:mxfp6_e2m3", "fp16", 8, MX23, MX23, HALF),
    Case("mxint8:mxint8", "auto", 4, MXI, MXI, EXACT32),
    Case("mxint8:mxfp8_e4m3", "auto", 4, MXI, MX8, FP32),
    Case("mxfp4:mxfp4", "auto", 64, MX4, MX4, FP32),
    Case("nvfp4:nvfp4", "auto", 16, NV, NV, FP32),
    Case("nvfp4:nvfp4", "auto", 32, NV, NV, FP32),
    Case("nvfp4:nvfp4", "exact", 64, NV, NV, EXACT32),
    Case("nvfp4:int8", "auto", 32, NV, I8, FP32),
    Case("int4_g32:int8", "auto", 16, G4, I8, EXACT32),
    Case("int4_g32:int8", "auto", 128, G4, I8, EXACT32),
    Case("int4_g32:int4_g64", "auto", 64, G4, G64, EXACT32),
    Case("int4_g32_zp:fp8_e4m3", "auto", 8, G4Z, M8, FP32),
    Case("int4_g32:bf16", "auto", 8, G4, BF, FP32),
    Case("int16_g32_zp:int16_g32_zp", "auto", 32, G16Z, G16Z, EXACT32),
    Case("fp8_e4m3:fp8_e4m3", "aligned25", 4, M8, M8, FP32, interleave=3),
    Case("mxfp4:mxfp4", "auto", 8, MX4, MX4, FP32, interleave=2),
]


def draw(side: Element, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Codes over the whole range, special ones included; a third of the minifloats near 1."""
    if side.fields is None:
        return rng.integers(-(1 << (side.bits - 1)), 1 << (side.bits - 1), shape)
    anywhere = rng.integers(0, 1 << side.width, shape)
    _, mantissa, bias = side.fields
    near = (bias + rng.integers(-1, 2, shape) << mantissa) + rng.integers(0, 1 << mantissa, shape)
    near += rng.integers(0, 2, shape) << (side.width - 1)
    return np.where(rng.random(shape) < 0.33, near % (1 << side.width), anywhere)


def draw_scales(side: Element, rng: np.random.Generator, steps: int, lanes: int) -> np.ndarray | None:
    if side.scale is None:
        return None
    exponent, mantissa, bias = side.scale
    shape = (steps, max(1, lanes // side.block))
    most = (1 << (exponent + mantissa)) - 2
    near = (bias + rng.integers(-3, 4, shape) << mantissa) + rng.integers(0, 1 << mantissa, shape)
    return np.where(rng.random(shape) < 0.7, near, rng.integers(0, most + 1, shape))


def listed(array: np.ndarray | None) -> list[list[int]]:
    return [] if array is None else array.tolist()


def agree(
    case: Case, weight: np.ndarray, activation: np.ndarray, first: np.ndarray, *scales: np.ndarray | None
) -> None:
    found = case.twin().run(weight, activation, first, *scales)
    expected = accumulate(
        weight.tolist(),
        activation.tolist(),
        first.tolist(),
        case.sides,
        case.arithmetic,
        (listed(scales[0]), listed(scales[1])),
        case.interleave,
    )
    assert [int(v) for v in found] == expected


@pytest.mark.parametrize("case", CASES, ids=str)
def test_random_codes_accumulate_like_exact_fractions(case: Case) -> None:
    rng, steps = np.random.default_rng(len(str(case))), 60
    weight, activation = (draw(side, rng, (steps, case.lanes)) for side in case.sides)
    first = rng.random(steps) < 0.2
    first[: case.interleave] = True
    agree(case, weight, activation, first, *(draw_scales(side, rng, steps, case.lanes) for side in case.sides))


def extremes(side: Element) -> list[int]:
    if side.fields is None:
        half = 1 << (side.bits - 1)
        return [-half, 1 - half, -1, 0, 1, half - 1]
    one, sign = 1 << side.fields[1], 1 << (side.width - 1)
    return [0, 1, one - 1, one, sign - 1, sign, sign + 1, 2 * sign - 1]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_largest_smallest_and_zero_codes_accumulate_like_exact_fractions(case: Case) -> None:
    pairs = np.array([(w, a) for w in extremes(case.weight) for a in extremes(case.activation)])
    rng = np.random.default_rng(1)
    same = np.repeat(pairs[:, None], case.lanes, axis=1)
    mixed = pairs[rng.integers(0, len(pairs), (40, case.lanes))]
    codes = np.concatenate([same, mixed])
    steps = len(codes)
    first = np.arange(steps) % 4 < 1
    first[: case.interleave] = True
    scales = []
    for side in case.sides:
        if side.scale is None:
            scales.append(None)
            continue
        most = (1 << (side.scale[0] + side.scale[1])) - 2
        scales.append(rng.choice([0, 1, most // 2, most], (steps, max(1, case.lanes // side.block))))
    agree(case, codes[..., 0], codes[..., 1], first, *scales)


def twin(pair: str, accumulator: str, lanes: int = 1, interleave: int = 1, bits: int | None = None) -> Twin:
    return Twin(FormatPair.parse(pair), accumulator, lanes, interleave, bits)


def half(value: float) -> int:
    return int(np.float16(value).view(np.uint16))


def test_integer_accumulator_wraps() -> None:
    acc = twin("int8:int8", "int16", 2).run(
        np.full((3, 2), -128), np.full((3, 2), -128), np.array([True, False, False])
    )
    assert acc.tolist() == [-32768, 0, -32768]


def test_a_saturating_accumulator_stops_at_its_ends_and_comes_back() -> None:
    first = np.array([True, False, False, True])
    weight, activation = np.array([[-128] * 2] * 4), np.array([[-128] * 2, [-128] * 2, [1, 0], [127, 127]])
    acc = twin("int8:int8", "int16_sat", 2).run(weight, activation, first)
    assert acc.tolist() == [32767, 32767, 32767 - 128, -2 * 128 * 127]


def test_width_can_be_wider_than_the_named_accumulator() -> None:
    acc = twin("int8:int8", "int16", 2, bits=32).run(
        np.full((2, 2), -128), np.full((2, 2), -128), np.array([True, False])
    )
    assert acc.tolist() == [32768, 65536]


def test_products_that_cancel_leave_positive_zero() -> None:
    one, minus = 0x38, 0xB8  # e4m3
    acc = twin("fp8_e4m3:fp8_e4m3", "fp32", 2).run(np.array([[one, minus]]), np.array([[one, one]]), np.array([True]))
    assert acc.tolist() == [0]


def test_negative_zero_codes_add_nothing_and_leave_positive_zero() -> None:
    acc = twin("bf16:bf16", "fp32", 2).run(np.full((1, 2), 0x8000), np.full((1, 2), 0x3F80), np.array([True]))
    assert acc.tolist() == [0]


def test_start_continues_a_sum() -> None:
    start = np.array([half(3.0)])
    acc = twin("fp16:fp16", "fp16").run(np.array([[half(1)]]), np.array([[half(2)]]), np.array([False]), start=start)
    assert acc.tolist() == [half(5.0)]


def test_a_tie_rounds_to_even_and_a_bit_below_it_breaks_it() -> None:
    two_11, tiny = half(2048.0), half(2.0**-14)
    first = np.array([True, False, True, False, False])
    one, zero = half(1.0), 0
    weight = np.array([[two_11], [one], [two_11], [tiny], [one]])
    activation = np.array([[one], [one], [one], [tiny], [one]])
    acc = twin("fp16:fp16", "fp16").run(weight, activation, first)
    assert acc.tolist() == [two_11, two_11, two_11, two_11, two_11]  # 2049 is a tie, 2048 is even
    both = twin("fp16:fp16", "fp16", 2).run(
        np.array([[two_11, zero], [one, half(2.0**-5)]]), np.array([[one, zero], [one, one]]), np.array([True, False])
    )
    assert both.tolist()[-1] == half(2050.0)


def test_half_precision_accumulator_saturates_at_its_largest_number() -> None:
    large = half(65504.0)
    acc = twin("fp16:fp16", "fp16").run(
        np.array([[large], [large], [large]]), np.array([[large], [large], [large | 0x8000]]), np.array([1, 0, 0], bool)
    )
    assert acc.tolist() == [large, large, large | 0x8000]


def test_half_precision_accumulator_keeps_subnormals() -> None:
    small = half(2.0**-12)
    acc = twin("fp16:fp16", "fp16").run(
        np.array([[small], [small]]), np.array([[small], [small]]), np.array([1, 0], bool)
    )
    assert acc.tolist() == [1, 2]


def test_products_beyond_float64s_comfort_round_once() -> None:
    # 2^-133 * 2^-133 below 1: a tie of fp32 is decided by a bit 290 positions lower
    least, one = 1, 0x3F80
    tie = [0x3F80, 0x3380]  # 1 and 2^-24
    weight = np.array([[tie[0]], [tie[1]], [tie[0]], [tie[1]], [least]])
    activation = np.array([[one], [one], [one], [one], [least]])
    acc = twin("bf16:bf16", "fp32").run(weight, activation, np.array([1, 0, 1, 0, 0], bool))
    assert acc.tolist() == [0x3F800000] * 5
    wide = twin("bf16:bf16", "aligned300", 2).run(
        np.array([[tie[0], 0], [tie[1], least]]), np.array([[one, 0], [one, least]]), np.array([1, 0], bool)
    )
    assert wide.tolist()[-1] == 0x3F800001


def test_a_sum_whose_tie_float64_cannot_tell_rounds_once() -> None:
    # 2 * (255/128)^2 + 2^-22 lies halfway between two numbers of fp32; 2^-60 in the accumulator decides
    near_two, one = 0x3FFF, 0x3F80
    weight = np.array([[0x2180, 0, 0, 0], [near_two, near_two, 0x3480, 0]])
    activation = np.array([[one, one, one, one], [near_two, near_two, one, one]])
    acc = twin("bf16:bf16", "aligned25", 4).run(weight, activation, np.array([True, False]))
    tie = Fraction(2 * 255 * 255, 1 << 14) + Fraction(1, 1 << 22)
    assert real(int(acc[0]), "fp32") == Fraction(1, 1 << 60)
    assert real(int(acc[1]), "fp32") == tie + Fraction(1, 1 << 22)


def test_a_block_sum_wider_than_float64_rounds_once() -> None:
    # block sum * 2047 * 2047 = (2k + 1) * 2^33 + 1, 58 bits: one above a tie, which float64 would drop
    scale = 2047 * 2047
    total = (2**33 + 1) * pow(scale, -1, 2**34) % 2**34
    total += 2**34 * ((2**57 // scale - total) // 2**34 + 1)
    weight, activation = np.zeros((1, 32), np.int64), np.zeros((1, 32), np.int64)
    weight[0, :31], weight[0, 31] = 65535, total % 65535
    activation[0, :31], activation[0, 31] = total // 65535 // 31, 1
    activation[0, : total // 65535 % 31] += 1
    largest = np.array([[0x67FF]])  # 2047 in fp16
    acc = twin("int16_g32_zp:int16_g32_zp", "auto", 32).run(weight, activation, np.array([True]), largest, largest)
    assert int((weight * activation).sum()) * scale == total * scale
    assert total * scale % 2**34 == 2**33 + 1
    assert (total * scale).bit_length() == 58
    assert int(acc[0]) == rounded(Fraction(total * scale), "fp32")


def test_value_is_the_dot_product_of_element_values() -> None:
    half_step = twin("mxint8:mxint8", "auto")
    acc = half_step.run(np.array([[96]]), np.array([[-32]]), np.array([True]), np.array([[128]]), np.array([[126]]))
    assert half_step.value(acc).tolist() == [1.5 * -0.5 * 2 / 2]
    exact = twin("fp8_e4m3:fp8_e4m3", "exact", 2)
    assert exact.value(exact.run(np.array([[1, 0x38]]), np.array([[1, 0x38]]), np.array([True]))).tolist() == [
        1 + 2.0**-18
    ]
    integers = twin("int8:int8", "auto")
    assert integers.value(integers.run(np.array([[3]]), np.array([[-5]]), np.array([True]))).tolist() == [-15]


def test_batches_broadcast() -> None:
    rng = np.random.default_rng(0)
    unit = twin("nvfp4:nvfp4", "auto", 32)
    weight, activation = rng.integers(0, 16, (5, 32, 3, 1)), rng.integers(0, 16, (5, 32, 1, 4))
    scales = rng.integers(40, 70, (5, 2, 3, 1)), rng.integers(40, 70, (5, 2, 1, 4))
    first = np.arange(5) == 0
    every = unit.run(weight, activation, first, *scales)
    assert every.shape == (5, 3, 4)
    alone = unit.run(weight[..., 2, 0], activation[..., 0, 1], first, scales[0][..., 2, 0], scales[1][..., 0, 1])
    assert (every[:, 2, 1] == alone).all()


@pytest.mark.parametrize("pair", ["bf16:bf16", "fp16:bf16"])
def test_exact_accumulator_beyond_128_bits_is_refused(pair: str) -> None:
    with pytest.raises(InputError, match="beyond 128"):
        twin(pair, "exact", 4)


@pytest.mark.parametrize("name", ["fp32", "fp16"])
def test_reference_rounds_like_numpy(name: str) -> None:
    native = np.float32 if name == "fp32" else np.float16
    unsigned = np.uint32 if name == "fp32" else np.uint16
    values = np.random.default_rng(0).standard_normal(300) * 2.0 ** np.random.default_rng(1).integers(-26, 15, 300)
    with np.errstate(under="ignore"):
        codes = values.astype(native).view(unsigned)
    for value, code in zip(values, codes, strict=True):
        assert rounded(Fraction(float(value)), name) == int(code)
        assert float(real(int(code), name)) == float(code.view(native))
