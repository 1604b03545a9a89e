"""`Format`: an element type and its scaling. `Quantized`: a tensor stored in a format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, isfinite
from typing import TYPE_CHECKING, TypeAlias

from codesign.errors import InputError, nearest
from codesign.formats import compiled, kernel
from codesign.formats.elements import Element, FloatElement
from codesign.formats.layout import Layout
from codesign.formats.pack import pack_codes, unpack_codes
from codesign.formats.reference import native
from codesign.formats.scaling import Scaling
from codesign.lazy import no_grad

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch

_KNOWN = 4096  # calibrated ranges whose scales a format remembers
TOKEN = "_token"
"""Suffix of the formats whose activations are scaled per token."""

Amax: TypeAlias = "float | Tensor | tuple[float | Tensor, float | Tensor]"
"""A calibrated range: the largest magnitude, or (low, high) for a format with a zero point."""


@dataclass(frozen=True)
class Quantized:
    """A tensor quantized to a format, as it is stored in memory."""

    format: Format
    codes: Tensor  # the tensor's shape; integers themselves (int8, uint8, int16, int32), minifloats as bit patterns
    # float32: the tensor's shape with one entry per block along `axis` (a single one without blocks); a scalar if
    # axis is None; None for a cast
    scales: Tensor | None
    zero_points: Tensor | None  # the codes of 0, shaped like scales
    tensor_scale: Tensor | None  # the second-level scale of nvfp4
    axis: int | None
    dtype: torch.dtype  # of the tensor that was quantized, and of `dequantize`

    @property
    def shape(self) -> torch.Size:
        """Shape of the tensor."""
        return self.codes.shape

    def dequantize(self) -> Tensor:
        """The dequantized tensor, in `dtype`."""
        return self.format.dequantize(self)

    def rows(self, chosen: Tensor) -> Quantized:
        """Some rows of a tensor with scales of its rows or of blocks along another axis; chosen: int64 indices."""
        scales, zero_points = (None if x is None else x[chosen] for x in (self.scales, self.zero_points))
        return replace(self, codes=self.codes[chosen], scales=scales, zero_points=zero_points)

    def scale_codes(self) -> Tensor:
        """`scales` as bit patterns of the format's scale element; raises ValueError for a cast."""
        if self.scales is None or self.format.scaling is None:
            raise ValueError(f"{self.format.name} has no scales")
        return self.format.scaling.scale.encode(self.scales)


@dataclass(frozen=True, slots=True)
class _Known:
    """What follows from a calibrated range."""

    ranges: kernel.Range
    scales: kernel.Scales
    constants: compiled.Constants | None


@dataclass(frozen=True)
class Format:
    """A number format: an element type and its scaling.

    The methods take these arguments. ``x``: float32, bfloat16 or float16; infinities saturate to the largest finite
    number of x's dtype. ``axis``: the contraction axis. Block formats require it and form their blocks along it; other
    scaled formats use one scale per slice along it, or one scale for the whole tensor if it is None; casts ignore it.
    ``amax``: a calibrated range that replaces the measured one: of a scaled format without blocks a number, or a
    tensor that broadcasts to the scales (a pair (low, high) for formats with a zero point); of nvfp4 a number, for
    the scale of the tensor. Formats per token take none. Anything else raises InputError.
    """

    name: str
    element: Element
    scaling: Scaling | None = None  # None for a cast: bf16, fp16, fp32

    @property
    def is_block(self) -> bool:
        """Whether each block of elements along an axis shares a scale."""
        return self.scaling is not None and self.scaling.block is not None

    @property
    def is_cast(self) -> bool:
        """Whether the format has no scale."""
        return self.scaling is None

    @property
    def takes_range(self) -> bool:
        """Whether a calibrated range sets a scale: that of a plain format, or the outer one of two levels."""
        if self.scaling is None or self.per_token:
            return False
        return not self.is_block or self.scaling.tensor_scale is not None

    @property
    def per_token(self) -> bool:
        """Whether an activation has one scale per vector along its contraction, taken from the data as it is read."""
        return self.scaling is not None and self.scaling.granularity == "token"

    @property
    def datapath(self) -> str:
        """The name of the format with the same elements, for a compute unit: `int8` of `int8_token`."""
        return datapath(self.name)

    @property
    def has_zero_point(self) -> bool:
        """Whether the range is asymmetric."""
        return self.scaling is not None and not self.scaling.symmetric

    @cached_property
    def bits_per_element(self) -> float:
        """Stored bits per element, including the element's share of its full block's scale and zero point."""
        return self.scaling.bits_per_element(self.element) if self.scaling else float(self.element.bits)

    @property
    def element_bits(self) -> int:
        """Bits of the element alone."""
        return self.element.bits

    @property
    def max_value(self) -> float:
        """The element's largest value, before scaling."""
        return self.element.max_value

    @property
    def rule(self) -> str | None:
        """The rule that determines the scale; None for a cast."""
        return self.scaling.rule if self.scaling else None

    @property
    def rules(self) -> tuple[str, ...]:
        """The available scale rules, the default first; empty for a cast."""
        return self.scaling.rules(self.element) if self.scaling else ()

    def with_rule(self, rule: str) -> Format:
        """The same format with another scale rule (``mxfp4`` -> ``mxfp4_rceil``); raises InputError otherwise."""
        if self.scaling is None or rule not in self.rules:
            raise InputError(f"format '{self.name}' has no scale rule '{rule}'{nearest(rule, self.rules)}")
        chosen = next(r for r in self.scaling.rules(self.element) if r == rule)
        base = self.name.removesuffix(f"_{self.scaling.rule}")
        name = base if rule == self.rules[0] else f"{base}_{rule}"
        return replace(self, name=name, scaling=replace(self.scaling, rule=chosen))

    def fake_quantize(
        self, x: Tensor, axis: int | None = None, amax: Amax | None = None, *, room: Tensor | None = None
    ) -> Tensor:
        """`x` rounded to the format, bit-identical to ``quantize(x).dequantize()``: same shape, dtype and memory order.

        NaN stays NaN, even if the format has none. room: a contiguous tensor of x's dtype and at least its size, in
        whose memory the result may be made; it may be `x` itself, where x is contiguous and not needed any more.
        """
        if room is not None and (room.dtype != x.dtype or room.numel() < x.numel()):
            raise InputError(f"room of {room.numel()} {room.dtype} for {x.numel()} {x.dtype}")
        found = self._known.get(amax) if type(amax) in (float, tuple) else None
        if found is not None and axis is None and compiled.takes(x):
            made = compiled.fake_whole(x, found.constants, room)
            if made is not None:
                return made
        return self._fake_quantize(x, axis, amax, room)

    @no_grad
    def _fake_quantize(self, x: Tensor, axis: int | None, amax: Amax | None, room: Tensor | None) -> Tensor:
        axis = self._check(x, axis, amax)
        if x.numel() == 0:
            return x.clone()
        layout = Layout.of(x, axis, self.scaling.block) if self.scaling else Layout.of(x, None, None)
        slabs = layout.slabs(x)
        out = kernel.result(slabs, room)
        if self.scaling is None:
            assert isinstance(self.element, FloatElement)
            kernel.cast(slabs, self.element, out)
            return layout.restore(out)
        if compiled.takes(x) and (amax is None or (self.is_block and type(amax) is float and 0 <= amax < inf)):
            rule = compiled.scale_rule(self.element, self.scaling)
            if compiled.fake_measured(slabs, layout.k, self.element, self.scaling, rule, amax, out):
                return layout.restore(out)
        slabs, ranges, scales = self._scales(slabs, layout, amax)
        limit = torch.finfo(x.dtype).max
        # rounding up may leave the dtype's range, but not from less than half of it
        largest = limit if not ranges.top < limit / 2 else None
        clip = kernel.clips(ranges, self.element, self.scaling)
        kernel.fake(slabs, scales, self.element, clip, out, largest, layout.k)
        return layout.restore(out)

    @no_grad
    def quantize(self, x: Tensor, axis: int | None = None, amax: Amax | None = None) -> Quantized:
        """Codes and scales of `x`. Raises InputError if x is empty, or holds NaN and the element has none."""
        axis = self._check(x, axis, amax)
        if self.scaling is None:
            assert isinstance(self.element, FloatElement)
            values = native(x, self.element).float()
            return Quantized(self, self.element.encode(values), None, None, None, axis, x.dtype)
        if not self.element.has_nan and bool(x.isnan().any()):
            raise InputError(f"the tensor contains NaN, which format '{self.name}' cannot hold")
        if x.numel() == 0:
            raise InputError(f"an empty tensor of shape {tuple(x.shape)} has no range to quantize")
        layout = Layout.of(x, axis, self.scaling.block)
        slabs, ranges, scales = self._scales(layout.slabs(x), layout, amax)
        clip = kernel.clips(ranges, self.element, self.scaling)
        values = layout.restore(kernel.elements(slabs, scales, self.element, clip, layout.k))
        zero_points = None
        if scales.zero_point is not None:
            zero_points = layout.ungroup_scales(scales.zero_point)
            values = values + self._spread(zero_points, layout.axis, values.shape)
            zero_points = self.element.encode(zero_points)
        codes = self.element.encode(values)
        return Quantized(self, codes, layout.ungroup_scales(scales.block), zero_points, scales.tensor, axis, x.dtype)

    @no_grad
    def dequantize(self, q: Quantized) -> Tensor:
        """The values of `q`, in its dtype."""
        values = self.element.decode(q.codes)
        if self.scaling is None or q.scales is None:
            return _narrowed(values, q.dtype)
        scales = q.scales if q.tensor_scale is None else q.scales * q.tensor_scale
        if q.zero_points is not None:
            values = values - self._spread(self.element.decode(q.zero_points), q.axis, q.shape)
        return _narrowed(values.mul_(self._spread(scales, q.axis, q.shape)), q.dtype)

    def pack(self, codes: Tensor) -> Tensor:
        """Pack codes in row-major order into bytes (uint8, 1-D), little-endian: the low nibble is the first code."""
        return pack_codes(codes, self.element)

    def unpack(self, data: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Inverse of `pack`: codes of `shape`; raises ValueError if the number of bytes does not match."""
        return unpack_codes(data, self.element, tuple(shape))

    def _check(self, x: Tensor, axis: int | None, amax: Amax | None) -> int | None:
        if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise InputError(f"format '{self.name}' quantizes float32, bfloat16 or float16, not {x.dtype}")
        if amax is not None and not self.takes_range:
            raise InputError(f"format '{self.name}' takes its scales from the data: it accepts no amax")
        if axis is None:
            if self.is_block:
                raise InputError(f"block format '{self.name}' needs the axis that its blocks run along")
            return None
        if not -x.ndim <= axis < x.ndim:
            raise InputError(f"axis {axis} is outside of a tensor of {x.ndim} dimensions")
        return axis % x.ndim

    def _scales(self, slabs: Tensor, layout: Layout, amax: Amax | None) -> tuple[Tensor, kernel.Range, kernel.Scales]:
        """The slabs as `_ranges` returns them, their ranges, and the scales of these."""
        assert self.scaling is not None
        if self.is_block or layout.axis is not None or not _are_numbers(amax):
            slabs, ranges = self._ranges(slabs, layout, amax)
            return slabs, ranges, kernel.pick_scales(ranges, self.element, self.scaling)
        found = self._known.get(amax)
        if found is None or found.scales.total.device != slabs.device:
            with torch.inference_mode(False):  # these tensors outlive the caller's inference mode
                ranges = self._ranges(slabs, layout, amax)[1]
                scales = kernel.pick_scales(ranges, self.element, self.scaling)
            if len(self._known) >= _KNOWN:
                self._known.clear()
            found = self._known[amax] = _Known(ranges, scales, compiled.constants(scales, self.element))
        return slabs, found.ranges, found.scales

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if key != "_known"}

    @cached_property
    def _known(self) -> dict[object, _Known]:
        """By calibrated range of a tensor; to find its scale takes longer than to round a small activation."""
        return {}

    def _ranges(self, slabs: Tensor, layout: Layout, amax: Amax | None) -> tuple[Tensor, kernel.Range]:
        """The slabs and their measured or given ranges; infinities are clamped where ranges are measured."""
        symmetric = not self.has_zero_point
        if amax is None:
            return kernel.measure(slabs, symmetric, layout.k)
        if self.is_block:
            if not isinstance(amax, (int, float)) or not 0 <= amax < inf:
                raise InputError(f"amax of format '{self.name}' must be a number, finite and not negative")
            slabs, ranges = kernel.measure(slabs, symmetric, layout.k)
            return slabs, replace(ranges, of_tensor=float(amax))
        if symmetric:
            if isinstance(amax, tuple):
                raise InputError(f"amax of format '{self.name}' is one magnitude: it has no zero point")
            high, least, top = self._bound(amax, slabs, layout)
            if least < 0 or not isfinite(top):
                raise InputError(f"amax of format '{self.name}' must be finite and not negative")
            return slabs, kernel.Range(high, None, False, top)
        if not isinstance(amax, tuple) or len(amax) != 2:
            raise InputError(f"amax of format '{self.name}' is a pair (low, high): it has a zero point")
        (low, bottom, _), (high, _, top) = (self._bound(bound, slabs, layout) for bound in amax)
        if not (isfinite(bottom) and isfinite(top) and bool((low <= high).all())):
            raise InputError(f"amax of format '{self.name}' must be finite (low, high) with low <= high")
        return slabs, kernel.Range(high.clamp_min(0), low.clamp_max(0), False, max(top, -bottom))

    def _bound(self, bound: float | Tensor, slabs: Tensor, layout: Layout) -> tuple[Tensor, float, float]:
        """One end of a calibrated range as [groups, 1, inner] or [1, 1, 1], with its minimum and maximum."""
        if not isinstance(bound, torch.Tensor):
            value = float(bound)
            return torch.full((1, 1, 1), value, device=slabs.device), value, value
        try:
            given = layout.group_scales(bound.to(slabs.device, torch.float32))
            return given, float(given.amin()), float(given.amax())
        except RuntimeError:
            shapes = f"{tuple(bound.shape)} does not broadcast to the scales {layout.scale_shape}"
            raise InputError(f"amax of shape {shapes} of format '{self.name}'") from None

    def _spread(self, scales: Tensor, axis: int | None, shape: torch.Size) -> Tensor:
        """Scales of a block format repeated to one per element; other scales broadcast unchanged."""
        if axis is None or self.scaling is None or self.scaling.block is None:
            return scales
        length = shape[axis]
        return scales.repeat_interleave(min(self.scaling.block, length), dim=axis).narrow(axis, 0, length)


def _are_numbers(amax: Amax | None) -> bool:
    return type(amax) is float or (type(amax) is tuple and all(type(each) is float for each in amax))


def datapath(name: str) -> str:
    """The name of a format for a compute unit, which multiplies elements and sees no scale of a token.

    Units that support `int8` support `int8_token`: the scale leaves the sum over the vector, as that of a tensor does.
    """
    return name.removesuffix(TOKEN)


def _narrowed(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float32 `values` cast to `dtype`, saturating, since rounding up may have left its range."""
    limit = torch.finfo(dtype).max
    return values.clamp(-limit, limit).to(dtype)
