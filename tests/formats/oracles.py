"""Slow, independent references in float64 NumPy, and the numbers that every element is tried on."""

from __future__ import annotations

from fractions import Fraction

import gfloat.formats as gf
import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]

# our name -> (the format as ml_dtypes has it, the format as gfloat has it)
MINIFLOATS = {
    "fp8_e4m3": (ml_dtypes.float8_e4m3fn, gf.format_info_ocp_e4m3),
    "fp8_e5m2": (ml_dtypes.float8_e5m2, gf.format_info_ocp_e5m2),
    "fp6_e3m2": (ml_dtypes.float6_e3m2fn, gf.format_info_ocp_e3m2),
    "fp6_e2m3": (ml_dtypes.float6_e2m3fn, gf.format_info_ocp_e2m3),
    "fp4_e2m1": (ml_dtypes.float4_e2m1fn, gf.format_info_ocp_e2m1),
}
MX = {
    "mxfp8_e4m3": gf.format_info_mxfp8_e4m3,
    "mxfp8_e5m2": gf.format_info_mxfp8_e5m2,
    "mxfp6_e3m2": gf.format_info_mxfp6_e3m2,
    "mxfp6_e2m3": gf.format_info_mxfp6_e2m3,
    "mxfp4": gf.format_info_mxfp4_e2m1,
    "mxint8": gf.format_info_mxint8,
}


def grid_of(name: str) -> Array:
    """The non-negative finite values of an element, ascending, as the oracle library decodes them; mxint8 by hand."""
    if name == "mxint8":
        return np.arange(128) / 64
    dtype = MINIFLOATS["fp4_e2m1" if name in ("mxfp4", "nvfp4") else name.removeprefix("mx")][0]
    bits = ml_dtypes.finfo(dtype).bits
    values = np.arange(1 << (bits - 1), dtype=np.uint8).view(dtype).astype(np.float64)
    return np.sort(values[np.isfinite(values)])


def nearest_on(grid: Array, x: Array) -> Array:
    """Each |x| to the nearest of `grid`, ties to the even index, saturating; the sign put back.

    The index of a minifloat's non-negative value is its code, so an even index is an even mantissa.
    """
    magnitude = np.abs(x)
    upper = np.searchsorted(grid, magnitude).clip(1, len(grid) - 1)
    lower = upper - 1
    middle = (grid[lower] + grid[upper]) / 2  # exact: neighbours differ by one bit of a short significand
    up = (magnitude > middle) | ((magnitude == middle) & (upper % 2 == 0))
    return np.copysign(grid[np.where(up, upper, lower)], x)


def edge_cases(grid: Array) -> torch.Tensor:
    """float32: values, midpoints, powers of two, their neighbours one ulp away, zeros, subnormals, extremes."""
    middles = (grid[1:] + grid[:-1]) / 2
    overflow = 2 * grid[-1] - grid[-2]
    powers = 2.0 ** np.arange(-149, 128)
    points = np.concatenate([grid, middles, [overflow, (grid[-1] + overflow) / 2], powers, [3.4028234663852886e38]])
    with np.errstate(over="ignore"):
        points = points.astype(np.float32)
        around = np.concatenate([points, np.nextafter(points, np.float32(np.inf)), np.nextafter(points, np.float32(0))])
    around = around[np.isfinite(around)]
    return torch.from_numpy(np.unique(np.concatenate([around, -around, np.float32([0.0]), -np.float32([0.0])])))


def random_numbers(largest: float, count: int = 1_000_000) -> torch.Tensor:
    """float32: half of them uniform up to twice `largest`, half log-uniform over the range and far below."""
    generator = np.random.default_rng(0)
    uniform = generator.uniform(-2 * largest, 2 * largest, count // 2)
    spread = 2.0 ** generator.uniform(-24, np.log2(largest) + 1, count - count // 2)
    numbers = np.concatenate([uniform, spread * generator.choice([-1.0, 1.0], len(spread))])
    return torch.from_numpy(numbers.astype(np.float32))


def exact_floor_log2(x: Fraction) -> int:
    """floor(log2 x) in integers."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def exact_scale(rule: str, grid: Array, amax: float) -> float:
    """The E8M0 scale of a block by the textbook formula in rationals; 1 for a block of zeros."""
    if amax == 0:
        return 1.0
    largest, magnitude = Fraction(float(grid[-1])), Fraction(amax)
    emax = exact_floor_log2(largest)
    if rule == "floor":
        e = exact_floor_log2(magnitude) - emax
    elif rule == "rceil":
        e = exact_floor_log2(magnitude / largest)
        e += Fraction(2) ** e != magnitude / largest
    else:
        top = exact_floor_log2(magnitude)
        step = Fraction(float(grid[-1] - grid[-2])) / Fraction(2) ** emax * Fraction(2) ** top
        e = exact_floor_log2(round(magnitude / step) * step) - emax  # round() of a Fraction: ties to even
    return 2.0 ** min(max(e, -127), 127)


def blocks_of(x: Array, size: int) -> Array:
    """The last axis cut into blocks of `size`, padded with zeros."""
    padding = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % size)]
    return np.pad(x, padding).reshape(*x.shape[:-1], -1, size)


def mx_reference(name: str, rule: str, x: Array, size: int = 32) -> Array:
    """`x` under an MX format along its last axis: exact scales, exact rounding."""
    grid = grid_of(name)
    blocks = blocks_of(x, size)
    amax = np.abs(blocks).max(-1)
    scales = np.array([exact_scale(rule, grid, float(a)) for a in amax.ravel()]).reshape(*amax.shape, 1)
    rounded = nearest_on(grid, blocks / scales) * scales
    return rounded.reshape(*x.shape[:-1], -1)[..., : x.shape[-1]]


def bits_of(x: torch.Tensor) -> torch.Tensor:
    """The bit pattern of each float, so that -0 and 0 differ."""
    return x.contiguous().view({4: torch.int32, 2: torch.int16}[x.element_size()])


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two float tensors agree bit for bit."""
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits_of(a), bits_of(b))


def count_mismatches(a: Array, b: Array) -> int:
    """How many entries differ in value or in sign of zero."""
    return int((~((a == b) & (np.signbit(a) == np.signbit(b)))).sum())
