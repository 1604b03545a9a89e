"""Elements, the types of one stored number: integers, minifloats and (`tabulated`) logarithms and codebooks.

Each has its values and their bit patterns.

Sources: OCP 8-bit Floating Point Specification (E4M3, E5M2), OCP Microscaling Formats 1.0 sections
5.3 and 5.4 (FP6, FP4, INT8, E8M0), IEEE 754-2019 section 3.4 (binary16, binary32).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Literal

from codesign.formats.tabulated import CodebookElement, LogElement

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch

Specials = Literal["none", "nan", "ieee"]
"""Special values of a minifloat: ``none``, ``nan`` (only the code of all ones is NaN), or ``ieee`` (the whole top
exponent encodes infinity and NaN)."""

_ENUMERABLE_BITS = 16
_NATIVE = {(5, 10): ("float16", "int16"), (8, 7): ("bfloat16", "int16"), (8, 23): ("float32", "int32")}


@dataclass(frozen=True)
class IntElement:
    """An integer of `bits` bits, in units of ``2**-fraction_bits``.

    Codes are the integers themselves (not bit patterns); `pack` masks them to two's complement.
    """

    bits: int
    signed: bool = True
    narrow: bool = False  # the lowest code of a signed element is unused, so that the range is symmetric
    fraction_bits: int = 0

    @property
    def min_code(self) -> int:
        """The lowest code in use."""
        return -(1 << (self.bits - 1)) + int(self.narrow) if self.signed else 0

    @property
    def max_code(self) -> int:
        """The highest code."""
        return (1 << (self.bits - int(self.signed))) - 1

    @property
    def step(self) -> float:
        """The distance between neighbouring values."""
        return 2.0**-self.fraction_bits

    @cached_property
    def max_value(self) -> float:
        """The largest value."""
        return self.max_code * self.step

    @cached_property
    def min_value(self) -> float:
        """The smallest (most negative) value."""
        return self.min_code * self.step

    @cached_property
    def emax(self) -> int:
        """Exponent of the largest value: ``floor(log2(max_value))``."""
        return self.max_code.bit_length() - 1 - self.fraction_bits

    @property
    def smallest(self) -> float:
        """The smallest positive value."""
        return self.step

    @property
    def rounding_bits(self) -> int:
        """Fraction bits of a value with exponent `emax`, to which the scale rule ``even`` rounds."""
        return self.max_code.bit_length() - 1

    @property
    def has_nan(self) -> bool:
        """Integers have no NaN."""
        return False

    @property
    def code_dtype(self) -> torch.dtype:
        """The smallest torch integer type that holds every code."""
        if self.bits <= 8:
            return torch.int8 if self.signed else torch.uint8
        return torch.int16 if self.signed or self.bits < 16 else torch.int32

    def codes(self) -> Tensor:
        """All codes in use, ascending: int64 [n]."""
        return torch.arange(self.min_code, self.max_code + 1)

    def values(self) -> Tensor:
        """Values of all `codes`: float32 [n]."""
        return self.decode(self.codes())

    def encode(self, values: Tensor) -> Tensor:
        """Codes of values that the element represents exactly: `code_dtype`, same shape."""
        return (values * (1 << self.fraction_bits)).to(self.code_dtype)

    def decode(self, codes: Tensor) -> Tensor:
        """Values of codes: float32, same shape."""
        return codes.to(torch.float32) * self.step


@dataclass(frozen=True)
class FloatElement:
    """A minifloat: sign (if `signed`), exponent with `bias`, mantissa.

    Codes are bit patterns (sign in the top bit): uint8 up to 8 bits, int16 or int32 for wider elements. Exponent
    field 0 holds zero and the subnormal numbers; without `subnormals` it is zero whatever the mantissa, which a
    quantizer leaves at 0. A signed element without mantissa bits represents zero and powers of two, and rounds what
    lies in the middle of two to the larger (the even multiple of the smaller). An unsigned one, such as E8M0, which
    is ``FloatElement(8, 0, 127, "nan", signed=False)``, is a scale: field 0 is one more power of two.
    """

    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: Specials = "none"
    signed: bool = True
    subnormals: bool = True

    def __post_init__(self) -> None:
        if self.bits > _ENUMERABLE_BITS and self._native_names is None:
            raise ValueError(f"{self}: of more than {_ENUMERABLE_BITS} bits only float32 has codes")

    @property
    def has_zero(self) -> bool:
        """Whether exponent field 0 stands for zero and subnormals; it does not in scales that are powers of two."""
        return self.signed or self.mantissa_bits > 0

    @property
    def bits(self) -> int:
        """Bits of one stored element."""
        return int(self.signed) + self.exponent_bits + self.mantissa_bits

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal value (all E8M0 values are normal)."""
        return int(self.has_zero) - self.bias

    @cached_property
    def emax(self) -> int:
        """Exponent of the largest finite value."""
        reserved = self.specials == "ieee" or (self.specials == "nan" and self.mantissa_bits == 0)
        return (1 << self.exponent_bits) - 1 - int(reserved) - self.bias

    @cached_property
    def max_value(self) -> float:
        """The largest finite value."""
        last = 2 if self.specials == "nan" and self.mantissa_bits else 1  # S.1..1.1..1 is NaN: one value fewer
        return 2.0**self.emax * (2 - last * 2.0**-self.mantissa_bits)

    @cached_property
    def min_value(self) -> float:
        """The smallest (most negative) finite value."""
        return -self.max_value if self.signed else self.smallest

    @property
    def smallest(self) -> float:
        """The smallest positive value (a subnormal if the element has any)."""
        return 2.0 ** (self.emin - (self.mantissa_bits if self.subnormals else 0))

    @property
    def step(self) -> float:
        """The unit of which all finite values are multiples: one in the last place of the smallest normal number."""
        return 2.0 ** (self.emin - self.mantissa_bits)

    @property
    def rounding_bits(self) -> int:
        """Mantissa bits, to which the scale rule ``even`` rounds."""
        return self.mantissa_bits

    @property
    def has_nan(self) -> bool:
        """Whether the element has NaN."""
        return self.specials != "none"

    @property
    def has_inf(self) -> bool:
        """Whether the element has infinity. Quantizers saturate and never produce it."""
        return self.specials == "ieee"

    @property
    def nan_code(self) -> int:
        """Bit pattern of the positive quiet NaN; raises ValueError if the element has none."""
        if not self.has_nan:
            raise ValueError(f"{self} has no NaN")
        magnitude = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        return magnitude if self.specials == "nan" else magnitude & ~((1 << (self.mantissa_bits - 1)) - 1)

    @property
    def _native_names(self) -> tuple[str, str] | None:
        return _NATIVE.get((self.exponent_bits, self.mantissa_bits)) if self.specials == "ieee" else None

    @cached_property
    def native(self) -> tuple[torch.dtype, torch.dtype] | None:
        """The torch float type of this element and the integer type of the same width; None below 16 bits."""
        names = self._native_names
        return (getattr(torch, names[0]), getattr(torch, names[1])) if names else None

    @property
    def code_dtype(self) -> torch.dtype:
        """The integer type that holds the bit patterns."""
        if self.native:
            return self.native[1]
        return torch.uint8 if self.bits <= 8 else torch.int16

    def codes(self) -> Tensor:
        """All bit patterns, ascending, NaNs included: int64 [2**bits]; raises ValueError above 16 bits."""
        if self.bits > _ENUMERABLE_BITS:
            raise ValueError(f"the 2**{self.bits} codes of {self} are too many to enumerate")
        return torch.arange(1 << self.bits)

    def values(self) -> Tensor:
        """Values of all `codes`: float32 [2**bits]."""
        codes = self.codes()
        magnitude_bits = self.exponent_bits + self.mantissa_bits
        exponent = (codes >> self.mantissa_bits) & ((1 << self.exponent_bits) - 1)
        mantissa = codes & ((1 << self.mantissa_bits) - 1)
        normal = (exponent > 0) if self.has_zero else torch.ones_like(codes, dtype=torch.bool)
        significand = mantissa + normal.long() * (1 << self.mantissa_bits)
        if not self.subnormals:
            significand = significand * normal
        exponent = torch.where(normal, exponent - self.bias, self.emin) - self.mantissa_bits
        values = torch.ldexp(significand.double(), exponent)
        if self.specials == "ieee":
            top = exponent + self.mantissa_bits + self.bias == (1 << self.exponent_bits) - 1
            values[top] = torch.where(mantissa[top] == 0, torch.inf, torch.nan).double()
        elif self.specials == "nan":
            values[codes & ((1 << magnitude_bits) - 1) == (1 << magnitude_bits) - 1] = torch.nan
        return torch.where(codes >> magnitude_bits > 0, -values, values).float()

    def encode(self, values: Tensor) -> Tensor:
        """Bit patterns of float32 values that the element represents exactly: `code_dtype`, same shape.

        NaN becomes `nan_code`; raises ValueError on NaN if the element has none.
        """
        if self.native:
            return values.to(self.native[0]).view(self.native[1])
        bits = values.abs().view(torch.int32)
        # of the unsigned without mantissa bits, float32's own subnormal 2**-127 has exponent field 0
        codes = (bits >> (23 - self.mantissa_bits)) - ((127 - self.bias) << self.mantissa_bits)
        if self.has_zero:
            subnormal = (values.abs() * (1 / self.step)).to(torch.int32)
            codes = torch.where(values.abs() < 2.0**self.emin, subnormal, codes)
        if self.signed:
            codes = codes | (values.signbit().to(torch.int32) << (self.bits - 1))
        missing = values.isnan()
        if missing.any():
            codes = codes.masked_fill(missing, self.nan_code)
        return codes.to(self.code_dtype)

    def decode(self, codes: Tensor) -> Tensor:
        """Values of bit patterns: float32, same shape."""
        if self.native:
            return codes.to(self.native[1]).view(self.native[0]).float()
        return _value_table(self).to(codes.device)[codes.long() & (1 << self.bits) - 1]


Element = IntElement | FloatElement | LogElement | CodebookElement


@lru_cache(maxsize=64)
def _value_table(element: FloatElement) -> Tensor:
    with torch.inference_mode(False):  # the cached tensor outlives the caller's inference mode
        return element.values()


FP32 = FloatElement(8, 23, 127, "ieee")
BF16 = FloatElement(8, 7, 127, "ieee")
FP16 = FloatElement(5, 10, 15, "ieee")
E5M2 = FloatElement(5, 2, 15, "ieee")
E4M3 = FloatElement(4, 3, 7, "nan")
E3M2 = FloatElement(3, 2, 3)
E2M3 = FloatElement(2, 3, 1)
E2M1 = FloatElement(2, 1, 1)
E8M0 = FloatElement(8, 0, 127, "nan", signed=False)
