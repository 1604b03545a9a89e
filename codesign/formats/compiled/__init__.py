"""The quantizer for processors, compiled: bit for bit what `reference` computes, each number read and written once.

Threads: as many as torch uses. `CODESIGN_KERNELS=torch` in the environment leaves everything to `reference`, as happens
to tensors on other devices and where numba is not installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, lru_cache
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from codesign.formats.elements import FP32, Element, FloatElement, IntElement
from codesign.formats.scaling import SMALLEST_NORMAL, Scaling, carry, divisor_of, tensor_scale
from codesign.formats.tabulated import Tabulated

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from codesign.formats.kernel import Scales
    from codesign.formats.rounding import Rounding
else:
    from codesign.lazy import torch

VARIABLE = "CODESIGN_KERNELS"
_GRAIN = 1 << 15  # numbers below which another thread costs more than it saves
_POOLED = 1 << 20  # the same without torch's own threads
_FLOAT, _BRAIN = np.dtype(np.float32), np.dtype(np.uint16)
_MEASURED = {"magnitudes": {_FLOAT: np.int32, _BRAIN: np.uint16}, "extremes": {_FLOAT: np.int32, _BRAIN: np.int16}}
_LARGEST = 1e38
_off = os.environ.get(VARIABLE) == "torch"


def takes(x: Tensor) -> bool:
    """Whether these kernels quantize `x`."""
    plain = x.device.type == "cpu" and type(x) in (torch.Tensor, torch.nn.Parameter) and not x.is_neg()
    return plain and not _off and _loops() is not None


@contextmanager
def switched_off() -> Iterator[None]:
    """Within the context everything is left to `reference`."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


@cache
def _loops() -> ModuleType | None:
    try:
        import numba

        from codesign.formats.compiled import loops
    except (ImportError, OSError):  # a Python for which numba has no wheel yet, or one that does not work here
        return None
    return None if numba.config.DISABLE_JIT else loops


def magnitudes(slabs: Tensor, k: int) -> Tensor:
    """As `reference.magnitudes`."""
    return _measured(slabs, k, "magnitudes", 1)[0]


def extremes(slabs: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As `reference.extremes`."""
    low, high = _measured(slabs, k, "extremes", 2)
    return low, high


ScaleRule = tuple[Any, ...]
"""How `loops` finds a group's scale: the kind; what is taken from the bits of the largest magnitude's exponent, and the
multiple of the scale from which on it doubles; what the magnitude is divided by, and the scale of the tensor; the least
and the largest scale, and what rounds it (0: nothing)."""


@lru_cache(maxsize=256)
def scale_rule(element: Element, scaling: Scaling) -> ScaleRule:
    """That of a format; the scale of the tensor, if it has one, is 1."""
    from codesign.formats.compiled import number

    scale = scaling.scale
    least, magic, smallest = max(scale.smallest, SMALLEST_NORMAL), np.int32(0), np.int32(0)
    if scale != FP32:
        magic, smallest = _magic(scale)
    kind, limit = number.STORED, 0.0
    if scaling.has_powers:
        kind, limit = {
            "floor": (number.FLOOR, 0.0),
            "rceil": (number.CEILED, element.max_value),
            "even": (number.EVEN, carry(element)),
        }[scaling.rule]
        least = scale.smallest
    elif scaling.tensor_scale is not None:
        kind, least = number.TWO_LEVEL, scale.smallest
    divisor = 1.0 if scaling.has_powers or not scaling.symmetric else divisor_of(element, scaling.rule)
    numbers = (np.float32(each) for each in (limit, divisor, 1, least, scale.max_value))
    return kind, np.int32(element.emax << 23), *numbers, magic, smallest


def fake_measured(
    slabs: Tensor, k: int, element: Element, scaling: Scaling, rule: ScaleRule, of_tensor: float | None, out: Tensor
) -> bool:
    """Write numbers, rounded with scales from their own groups, to `out`; False where `fake` has to: of few groups, or
    where numbers are large, infinite or NaN."""
    loops = _loops()
    assert loops is not None
    outer, length, inner = slabs.shape
    groups = outer * -(-length // k)
    if inner != 1 or groups < 2 or slabs.dtype == torch.float16:
        return False
    x = _array(slabs)
    if scaling.tensor_scale is not None:
        if of_tensor is None:
            of_tensor = float(_measured(slabs, x.size, "magnitudes", 1)[0].amax())
        tensor = np.float32(tensor_scale(torch.tensor(of_tensor), element, scaling).item())
        rule = (*rule[:4], tensor, *rule[5:])
    scales, unusual = np.empty(groups, np.float32), np.zeros(1, np.int32)
    lows, highs = (None, None) if scaling.symmetric else (np.empty(groups, np.float32), np.empty(groups, np.float32))
    border = np.float32(torch.finfo(slabs.dtype).max / 2)
    ends = (np.float32(element.min_value), np.float32(element.max_value), border)
    sizes = (length, k, scales, lows, highs, unusual, rule, *ends, *_magic(element))
    _share(loops.fake_measured, groups, x.size, (x, _array(out)), sizes)
    return not unusual[0]


Constants = tuple[Any, ...]
"""What rounds the elements of a tensor with one scale, as `loops.fake_at` takes it."""


def constants(scales: Scales, element: Element) -> Constants | None:
    """Those of a calibrated scale; None where results might leave the range of bfloat16 or float32."""
    if scales.total.device.type != "cpu":
        return None
    scale = float(scales.total)
    low, high = element.min_value, element.max_value
    if scales.zero_point is not None:
        low, high = low - float(scales.zero_point), high - float(scales.zero_point)
    if _loops() is None or max(-low, high) * scale >= _LARGEST:
        return None
    return scale, low, high, *_magic(element)


def fake_whole(x: Tensor, found: Constants | None, room: Tensor | None) -> Tensor | None:
    """A tensor rounded with one calibrated scale; None where `fake` has to."""
    if found is None or _like(x.dtype) is None or not _is_dense(x.shape, x.stride()):
        return None
    loops = _loops()
    assert loops is not None
    numbers = x.numel()
    out = torch.empty_like(x) if room is None else room.as_strided(x.shape, x.stride())
    _share(loops.fake_at, numbers, numbers, (x.data_ptr(), out.data_ptr(), _like(x.dtype)), found)
    return out


@lru_cache(maxsize=4096)
def _is_dense(shape: torch.Size, stride: tuple[int, ...]) -> bool:
    """Whether a tensor's numbers fill a piece of memory, in any order of dimensions."""
    expected = 1
    for step, size in sorted((step, size) for step, size in zip(stride, shape, strict=True) if size != 1):
        if step != expected:
            return False
        expected *= size
    return expected > 0


@cache
def _like(dtype: torch.dtype) -> Any:
    """A number as `loops` holds those of a tensor; None: it cannot."""
    return {torch.float32: np.float32(0), torch.bfloat16: np.uint16(0)}.get(dtype)


def fake(slabs: Tensor, k: int, how: Rounding, out: Tensor) -> None:
    """As `reference.fake`."""
    loops = _loops()
    assert loops is not None
    x, target, element, zero_point = _array(slabs), _target(out), how.element, how.zero_point
    low, high = (np.float32(element.min_value), np.float32(element.max_value)) if how.clip else (None, None)
    lows = highs = None
    if zero_point is not None:
        lows, highs = _flat(element.min_value - zero_point), _flat(element.max_value - zero_point)
        low, high = lows[0], highs[0]
    numbers = (low, high, *_magic(element), how.rescale, None if how.largest is None else np.float32(how.largest))
    scales = _flat(how.scale)
    outer, length, inner = slabs.shape
    if scales.size == 1:
        _share(loops.fake_whole, x.size, x.size, (x, target), (scales[0], *numbers))
    elif inner == 1:
        after: tuple[Any, ...] = (length, k, scales, lows, highs, *numbers)
        _share(loops.fake_groups, outer * -(-length // k), x.size, (x, target), after)
    else:
        after = (length, k, inner, scales, lows, highs, *numbers)
        _share(loops.fake_rows, outer * length, x.size, (x, target), after)
    _store(target, out)


def diffuse(
    x: Tensor, scale: Tensor, zero_point: Tensor | None, element: Element, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As `reference.diffuse`."""
    loops = _loops()
    assert loops is not None
    x, weights = x.contiguous(), weights.contiguous()
    groups, rows, columns = x.shape
    found = tuple(torch.empty_like(x) for _ in range(3))
    lows, highs = (
        np.full(groups * rows, end, np.float32) if zero_point is None else _flat(end - zero_point)
        for end in (element.min_value, element.max_value)
    )
    after = (_flat(weights), rows, columns, _flat(scale), lows, highs, *_magic(element))
    _share(loops.diffuse, groups * rows, x.numel() * columns, tuple(map(_array, (x, *found))), after)
    return found[0], found[1], found[2]


def cast(slabs: Tensor, element: FloatElement, out: Tensor) -> None:
    """As `reference.cast`."""
    loops = _loops()
    assert loops is not None
    x, target = _array(slabs), _target(out)
    most = torch.finfo(out.dtype).max
    magic, smallest = _magic(element)
    if element.exponent_bits == 8:
        magic, smallest = (magic if element.mantissa_bits < 23 else None), None
    rest = (np.float32(min(element.max_value, most)), magic, smallest, np.float32(most))
    _share(loops.cast, x.size, x.size, (x, target), rest)
    _store(target, out)


def _measured(slabs: Tensor, k: int, what: str, results: int) -> list[Tensor]:
    """The results of a measuring loop, float32 [groups, 1, inner]."""
    loops = _loops()
    assert loops is not None
    x = _array(slabs)
    outer, length, inner = slabs.shape
    whole = outer == inner == 1 and k >= length
    if whole:  # in parts, for threads
        k = min(k, _GRAIN)
    found = [np.zeros(outer * -(-length // k) * inner, _MEASURED[what][x.dtype]) for _ in range(results)]
    sizes = (length, k) if inner == 1 else (length, k, inner)
    loop = getattr(loops, f"{what}_of_{'groups' if inner == 1 else 'rows'}")
    _share(loop, outer * -(-length // k), x.size, (x, *found), sizes)
    if whole:
        found = [each.max(keepdims=True) if each is found[-1] else each.min(keepdims=True) for each in found]
    return [torch.from_numpy(_numbers(each, x.itemsize)).view(-1, 1, inner) for each in found]


def _numbers(found: Any, size: int) -> Any:
    """The float32 of what `loops` orders numbers of `size` bytes by."""
    bits = found if found.dtype.kind == "u" else found ^ ((found >> (8 * size - 1)) & np.iinfo(found.dtype).max)
    return (bits.astype(np.int32) << (32 - 8 * size)).view(np.float32)


class _Numbers:
    """A contiguous tensor's memory, for NumPy. `Tensor.numpy` would keep its storage from being resized ever again."""

    __slots__ = ("__array_interface__", "_tensor")

    def __init__(self, tensor: Tensor, kind: str) -> None:
        self._tensor = tensor  # which keeps the memory
        self.__array_interface__ = {
            "data": (tensor.data_ptr(), False),
            "shape": (tensor.numel(),),
            "typestr": kind,
            "version": 3,
        }


def _array(x: Tensor) -> Any:
    """A contiguous tensor's numbers in a row: float32, or the bits of bfloat16. No copy, but of float16."""
    if x.dtype == torch.bfloat16:
        return np.asarray(_Numbers(x, np.dtype(np.uint16).str))
    return np.asarray(_Numbers(x.float(), np.dtype(np.float32).str))


def _target(out: Tensor) -> Any:
    return np.empty(out.numel(), np.float32) if out.dtype == torch.float16 else _array(out)


def _store(target: Any, out: Tensor) -> None:
    if out.dtype == torch.float16:
        out.view(-1).copy_(torch.from_numpy(target))


def _flat(x: Tensor) -> Any:
    return _array(x.detach().contiguous())


def _magic(element: Element) -> tuple[Any, Any]:
    """What rounds an element in `loops`, as `number.nearest` takes it."""
    if isinstance(element, Tabulated):
        return np.float32(0), (element.borders, element.ascending)
    if isinstance(element, IntElement):
        return np.float32(1.5 * 2.0**23 * element.step), None
    magic, smallest = np.int32((23 - element.mantissa_bits << 23) + (1 << 22)), np.int32(element.emin + 127 << 23)
    return magic, smallest if element.subnormals else (smallest, np.int32(smallest + (element.mantissa_bits << 23)))


def _share(
    loop: Callable[..., None], count: int, numbers: int, before: tuple[Any, ...], after: tuple[Any, ...]
) -> None:
    """Run a loop over 0 .. count in as many threads as torch uses, if `numbers` are worth it."""
    team = _team()
    grain = _GRAIN if team[0] else _POOLED
    threads = min(torch.get_num_threads(), count, 1 + numbers // grain)
    if threads == 1 or team[0]:
        loop(team, threads, 0, count, before, after)
        return
    ends = pairwise(count * i // threads for i in range(threads + 1))
    running = [_pool(threads).submit(loop, team, 1, a, b, before, after) for a, b in ends]
    for each in running:
        each.result()


@cache
def _team() -> tuple[int, int, int]:
    from codesign.formats.compiled.team import openmp  # with numba, and so not before it is needed

    return openmp()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "codesign-kernels")


os.register_at_fork(after_in_child=_pool.cache_clear)
