"""Norms and other modules of a vector of parameters, recognised by what they do.

A module's gain is the parameter w [C] by which its output is multiplied channel by channel: out = g(w) n(x) + b, where
g(w) is w, or 1 + w as in Gemma's RMSNorm. That is tried on random numbers, whatever the module is called.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codesign.models.preparation.hadamard import Rotation
from codesign.models.preparation.record import Call, Record
from codesign.models.preparation.weighted import exact

_EXACT = 1e-4  # norms compute in float32, whatever their input is


@dataclass(frozen=True, eq=False)
class Gain:
    """A module whose output is multiplied by a vector, in all its calls."""

    name: str
    module: nn.Module
    gain: nn.Parameter  # w
    shift: nn.Parameter | None  # b
    offset: float  # g(w) = offset + w
    axis: int  # of the channels in the output, counted from its end
    calls: tuple[Call, ...]

    @property
    def factors(self) -> Tensor:
        """g(w), float64 [C]."""
        return exact(self.gain) + self.offset


@dataclass(frozen=True, eq=False)
class Affine:
    """A module that computes factor * x + shift for each channel: a batch normalisation in evaluation."""

    name: str
    module: nn.Module
    factor: Tensor  # float64 [C]
    shift: Tensor
    calls: tuple[Call, ...]


def gains(record: Record) -> list[Gain]:
    """Modules with a gain, in the order in which they run."""
    found = (_gain(record, calls) for calls in _small(record))
    return [each for each in found if each is not None]


def affines(record: Record) -> list[Affine]:
    """Modules that are affine in each channel."""
    found = (_affine(record, calls) for calls in _small(record))
    return [each for each in found if each is not None]


def keeps_rotations(record: Record, norm: Gain, call: Call, rotation: Rotation, *, bare: bool = False) -> bool:
    """Whether a norm turns a rotated input [..., C] into its rotated output.

    bare: as it would without gain and shift.
    """
    double = copy.deepcopy(norm.module).cpu().double()
    x = _noise(record, call)
    with torch.no_grad():
        if bare:
            gain, *shift = (dict(double.named_parameters())[name] for name in _names(norm))
            gain.fill_(1.0 - norm.offset)
            for each in shift:
                each.zero_()
        return _close(double(rotation(x)), rotation(double(x)))


def _names(norm: Gain) -> list[str]:
    """The names of gain and shift within their module."""
    wanted = [norm.gain] if norm.shift is None else [norm.gain, norm.shift]
    return [next(name for name, p in norm.module.named_parameters() if p is each) for each in wanted]


def _small(record: Record) -> Iterator[tuple[Call, ...]]:
    """The calls of each module that has vectors only, takes one tensor and returns one of its shape."""
    calls: dict[int, list[Call]] = {}
    for call in record.calls:
        calls.setdefault(id(call.module), []).append(call)
    for each in calls.values():
        module = each[0].module
        tensors = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
        if not tensors or any(t.ndim > 1 for t in tensors) or max(t.numel() for t in tensors) < 2:
            continue
        if any(module.children()):
            continue
        shapes = [_shapes(record, call) for call in each]
        if all(shape is not None and shape[0] == shape[1] for shape in shapes):
            yield tuple(each)


def _shapes(record: Record, call: Call) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if call.input is None or call.output is None:
        return None
    return record.values[call.input].shape, record.values[call.output].shape


def _noise(record: Record, call: Call) -> Tensor:
    """A random input of a call, of one sample, float64."""
    assert call.input is not None
    shape = record.values[call.input].shape
    shape = (1, *shape[1:]) if len(shape) > 1 else shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and float((a - b).abs().max()) <= _EXACT * float(b.abs().max())


@torch.no_grad()
def _gain(record: Record, calls: tuple[Call, ...]) -> Gain | None:
    module = calls[0].module
    parameters = list(module.parameters(recurse=False))
    if not 1 <= len(parameters) <= 2 or len({p.shape for p in parameters}) != 1:
        return None
    if any(not _inside(record, calls, parameter) for parameter in parameters):
        return None
    try:
        tried = copy.deepcopy(module).cpu().double()
        copies = list(tried.parameters(recurse=False))
        x = _noise(record, calls[0])
        for order in itertools.permutations(range(len(parameters))):
            found = _tried(tried, x, [copies[i] for i in order])
            if found is not None:
                offset, axis = found
                shift = parameters[order[1]] if len(order) == 2 else None
                return Gain(calls[0].name, module, parameters[order[0]], shift, offset, axis, calls)
    except (RuntimeError, TypeError, ValueError):  # it does not run alone
        return None
    return None


def _tried(module: nn.Module, x: Tensor, parameters: list[nn.Parameter]) -> tuple[float, int] | None:
    """(offset, axis) if the first parameter is a gain, and the second, if there is one, a shift."""
    gain, shift = parameters[0], parameters[1] if len(parameters) == 2 else None
    count = gain.numel()
    generator = torch.Generator().manual_seed(1)
    some = torch.rand(count, generator=generator, dtype=torch.float64) + 0.5

    def run(w: float | Tensor, b: float | Tensor = 0.0) -> Tensor:
        for parameter, value in ((gain, w), (shift, b)):
            if parameter is not None:
                parameter.copy_(torch.as_tensor(value, dtype=torch.float64).expand(count))
        found: Tensor = module(x.clone()).double()
        return found

    nothing, one, scaled = run(0.0), run(1.0), run(some)
    unit = one - nothing
    largest = float(unit.abs().max())
    if not largest or not scaled.isfinite().all():
        return None
    if float(nothing.abs().max()) <= _EXACT * largest:
        offset = 0.0
    elif _close(nothing, unit):
        offset = 1.0
    else:
        return None
    for axis in range(-1, -x.ndim - 1, -1):
        if x.shape[axis] != count or not _close(scaled, unit * _along(some + offset, axis)):
            continue
        if shift is None or _close(run(some, some) - scaled, _along(some, axis).expand_as(x)):
            return offset, axis
    return None


def _along(vector: Tensor, axis: int) -> Tensor:
    """A vector [C] that broadcasts along an axis counted from the end."""
    return vector.view(-1, *[1] * (-axis - 1))


@torch.no_grad()
def _affine(record: Record, calls: tuple[Call, ...]) -> Affine | None:
    module = calls[0].module
    try:
        tried = copy.deepcopy(module).cpu().double()
        x = _noise(record, calls[0])
        shift = tried(torch.zeros_like(x)).double()
        factor = tried(torch.ones_like(x)).double() - shift
        if not _close(tried(x.clone()).double(), factor * x + shift):
            return None
    except (RuntimeError, TypeError, ValueError):
        return None
    sizes = {t.numel() for t in (*module.parameters(), *module.buffers()) if t.ndim == 1}
    for axis in {1 - x.ndim, -1}:
        if x.ndim < 2 or x.shape[axis] not in sizes:
            continue
        rows = [each.movedim(axis, -1).reshape(-1, x.shape[axis]) for each in (factor, shift)]
        if all(bool((each == each[0]).all()) for each in rows):
            return Affine(calls[0].name, module, rows[0][0].clone(), rows[1][0].clone(), calls)
    return None


def _inside(record: Record, calls: tuple[Call, ...], parameter: Tensor) -> bool:
    """Whether nothing but these calls reads a parameter."""
    numbers = {call.number for call in calls}
    uses = [record.ops[number] for number in record.uses(parameter)]
    return bool(uses) and all(numbers & set(op.calls) for op in uses)
