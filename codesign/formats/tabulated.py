"""Elements whose values are listed: logarithmic numbers (LNS) and codebooks of integers.

A value is rounded to the nearest of the list; a tie goes to the even code, as with all other elements. Code 0 is the
value 0, so that padding is neutral.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import frexp
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch

ANTILOG_GUARD = 5  # bits of an antilogarithm beyond those of the fraction, see `LogElement`


class Tabulated(ABC):
    """What elements of a list of values have in common. Codes are bit patterns, uint8."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of one stored element, at most 8."""

    @property
    @abstractmethod
    def listed(self) -> tuple[tuple[float, int], ...]:
        """(value, code) of every code in use, ascending; all of them are float32 numbers."""

    @cached_property
    def ascending(self) -> Any:
        """The values, float32 NumPy [n]."""
        return np.array([value for value, _ in self.listed], np.float32)

    @cached_property
    def borders(self) -> Any:
        """What a number has to exceed to be rounded to the next of `ascending` or beyond, float32 NumPy [n - 1]."""
        found = []
        for (low, code), (high, _) in pairwise(self.listed):
            middle = np.float32((low + high) / 2)  # exact: values have few significant bits
            found.append(np.nextafter(middle, np.float32(-np.inf)) if code % 2 else middle)
        return np.array(found, np.float32)

    @cached_property
    def max_value(self) -> float:
        """The largest value."""
        return self.listed[-1][0]

    @cached_property
    def min_value(self) -> float:
        """The smallest (most negative) value."""
        return self.listed[0][0]

    @cached_property
    def smallest(self) -> float:
        """The smallest positive value."""
        return min(value for value, _ in self.listed if value > 0)

    @cached_property
    def emax(self) -> int:
        """Exponent of the largest value: ``floor(log2(max_value))``."""
        return frexp(self.max_value)[1] - 1

    @property
    def has_nan(self) -> bool:
        """These elements have no NaN."""
        return False

    @property
    def code_dtype(self) -> torch.dtype:
        """The integer type that holds the bit patterns."""
        return torch.uint8

    def codes(self) -> Tensor:
        """All codes in use, by ascending value: int64 [n]."""
        return torch.tensor([code for _, code in self.listed])

    def values(self) -> Tensor:
        """Values of all `codes`: float32 [n]."""
        return torch.from_numpy(self.ascending.copy())

    def round(self, y: Tensor) -> Tensor:
        """Each number of `y` (float32) to the nearest value; NaN stays NaN."""
        _, borders, ascending, _ = _tables(self, y.device)
        return torch.where(y.isnan(), y, ascending[torch.bucketize(y.contiguous(), borders)])

    def encode(self, values: Tensor) -> Tensor:
        """Codes of values of the list: uint8, same shape."""
        codes, borders, _, _ = _tables(self, values.device)
        return codes[torch.bucketize(values.contiguous(), borders)]

    def decode(self, codes: Tensor) -> Tensor:
        """Values of codes, 0 of unused ones: float32, same shape."""
        return _tables(self, codes.device)[3][codes.long()]


@lru_cache(maxsize=256)
def _tables(element: Tabulated, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(codes by ascending value, borders, values ascending, values by code) on a device."""
    with torch.inference_mode(False):  # the cached tensors outlive the caller's inference mode
        by_code = torch.zeros(1 << element.bits)
        by_code[element.codes()] = element.values()
        found = (element.codes().to(torch.uint8), torch.from_numpy(element.borders.copy()), element.values(), by_code)
        codes, borders, ascending, by_code = (each.to(device) for each in found)
        return codes, borders, ascending, by_code


@dataclass(frozen=True)
class LogElement(Tabulated):
    """A logarithmic number: sign, and the base-2 logarithm of the magnitude with integer and fraction bits.

    The magnitude code L (`integer_bits` and `fraction_bits` bits) stands for ``2**(L / 2**fraction_bits - bias)``, 0
    for zero. A product's logarithm is the sum of two. What the hardware makes of a fraction is an antilogarithm from a
    table of `significand` bits, `ANTILOG_GUARD` more than the fraction has: its error, 2**-significand at most, is a
    tenth of that of rounding to the element. The values of the element are those of the table, so that they are exact
    wherever they are used.

    Source of the idea: Miyashita et al. 2016 (arXiv:1603.01025); Zhao et al. 2022, LNS-Madam (arXiv:2106.13914).
    """

    integer_bits: int
    fraction_bits: int

    @property
    def bits(self) -> int:
        """Bits of one stored element."""
        return 1 + self.integer_bits + self.fraction_bits

    @property
    def bias(self) -> int:
        """What is subtracted from the logarithm, as of an IEEE exponent of so many bits."""
        return (1 << (self.integer_bits - 1)) - 1

    @property
    def significand(self) -> int:
        """Bits of an antilogarithm."""
        return self.fraction_bits + ANTILOG_GUARD

    @cached_property
    def antilogs(self) -> tuple[int, ...]:
        """``2**(f / 2**fraction_bits)`` of every fraction f, in units of ``2**(1 - significand)``."""
        count = 1 << self.fraction_bits
        return tuple(round(2 ** (f / count) * (1 << (self.significand - 1))) for f in range(count))

    @cached_property
    def listed(self) -> tuple[tuple[float, int], ...]:
        """(value, code) of every code in use, ascending."""
        count, sign = 1 << self.fraction_bits, 1 << (self.bits - 1)
        unit = 2.0 ** (1 - self.significand - self.bias)
        positive = [(self.antilogs[code % count] * unit * 2.0 ** (code // count), code) for code in range(1, sign)]
        return (*((-value, code + sign) for value, code in reversed(positive)), (0.0, 0), *positive)


@dataclass(frozen=True)
class CodebookElement(Tabulated):
    """One of up to 16 integers, which a table in front of an integer multiplier looks up.

    Codes count from that of 0 upwards, modulo the number of codes.
    """

    numbers: tuple[int, ...]  # ascending, 0 and numbers of both signs among them

    @property
    def bits(self) -> int:
        """Bits of one stored element."""
        return (len(self.numbers) - 1).bit_length()

    @property
    def significand(self) -> int:
        """Bits of a number in two's complement."""
        return max(self.numbers[-1].bit_length(), (-self.numbers[0] - 1).bit_length()) + 1

    @cached_property
    def listed(self) -> tuple[tuple[float, int], ...]:
        """(value, code) of every number, ascending."""
        zero, mask = self.numbers.index(0), (1 << self.bits) - 1
        return tuple((float(number), place - zero & mask) for place, number in enumerate(self.numbers))

    @cached_property
    def by_code(self) -> tuple[int, ...]:
        """The number of every code, 0 of unused ones."""
        found = {code: int(value) for value, code in self.listed}
        return tuple(found.get(code, 0) for code in range(1 << self.bits))


# Dettmers et al. 2023 (QLoRA, arXiv:2305.14314), appendix E, times 127, rounded: quantiles of a normal distribution
NF4 = CodebookElement((-127, -88, -67, -50, -36, -23, -12, 0, 10, 20, 31, 43, 56, 71, 92, 127))
