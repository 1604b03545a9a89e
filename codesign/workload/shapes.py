"""Shape inference for meta tensors, so that a trace on the meta device runs no torch kernels.

torch infers the same shapes by Python decompositions, whose import alone takes two seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_LIKE_THE_FIRST = frozenset(
    ("silu", "gelu", "relu", "leaky_relu", "sigmoid", "tanh", "cos", "sin", "exp", "softmax", "dropout")
)
_BROADCAST = frozenset(("add", "radd", "sub", "rsub", "mul", "rmul", "div", "truediv", "rtruediv", "pow", "rpow"))


class ShapesOnly(TorchFunctionMode):
    """Context in which common functions of meta tensors return empty tensors of the right shape and dtype.

    Functions that are unknown here, and arguments that mix devices or do not match, are passed on to torch.
    seen: called with name, result and arguments of every function that is handled here.
    """

    def __init__(self, seen: Callable[[str, Tensor, Any], None] | None = None) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = None if kwargs.get("inplace") or "out" in kwargs else _shaped(func, args, kwargs)
        if found is None:
            return func(*args, **kwargs)
        if self._seen:
            self._seen(_name(func), found, (args, kwargs))
        return found


def _shaped(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    if func in _RULES:
        return _RULES[func](*args, **kwargs)
    name = _name(func)
    if name in _LIKE_THE_FIRST and args and "dtype" not in kwargs and _is_meta_float(args[0]):
        return _empty(args[0].shape, args[0].dtype)
    if name in _BROADCAST and len(args) == 2 and not kwargs:
        return _broadcast(*args)
    return None


def _name(func: Callable[..., Any]) -> str:
    return str(getattr(func, "__name__", "")).strip("_")


@contextmanager
def weightless() -> Iterator[None]:
    """Context in which new modules and tensors are created on the meta device, without storage."""
    with torch.device("meta"), ShapesOnly():
        yield


def _unchanged(tensor: Tensor, *_: Any, **__: Any) -> Tensor | None:
    return tensor if tensor.is_meta else None


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    if not _is_meta_float(input) or weight.ndim != 2 or input.shape[-1] != weight.shape[1]:
        return None
    return _empty((*input.shape[:-1], weight.shape[0]), input.dtype)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    if not _is_meta_float(input) or isinstance(padding, str) or input.ndim != 4:
        return None
    if input.shape[1] != weight.shape[1] * groups:
        return None
    pairs = [x if isinstance(x, Sequence) and len(x) == 2 else (x, x) for x in (stride, padding, dilation)]
    if not all(isinstance(x, int) for pair in pairs for x in pair):
        return None
    size = [
        (length + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for length, taps, step, pad, spread in zip(input.shape[2:], weight.shape[2:], *pairs, strict=True)
    ]
    return _empty((input.shape[0], weight.shape[0], *size), input.dtype) if min(size) > 0 else None


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor | None:
    if not _is_meta_float(query) or query.shape[:-3] != key.shape[:-3] or query.shape[-1] != key.shape[-1]:
        return None
    return _empty((*query.shape[:-1], value.shape[-1]), query.dtype)


def _embedding(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> Tensor | None:
    if not _is_meta_float(weight) or not input.is_meta or input.is_floating_point():
        return None
    return _empty((*input.shape, weight.shape[1]), weight.dtype)


def _norm(input: Tensor, normalized_shape: Sequence[int], *_: Any, **__: Any) -> Tensor | None:
    same = tuple(input.shape[-len(normalized_shape) :]) == tuple(normalized_shape)
    return _empty(input.shape, input.dtype) if same and _is_meta_float(input) else None


def _group_norm(input: Tensor, num_groups: int, weight: Tensor | None = None, *_: Any, **__: Any) -> Tensor | None:
    fits = input.shape[1] % num_groups == 0 and (weight is None or input.shape[1] == len(weight))
    return _empty(input.shape, input.dtype) if fits and _is_meta_float(input) else None


def _nearest(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", **_: Any
) -> Tensor | None:
    if not _is_meta_float(input) or mode != "nearest" or input.ndim != 4:
        return None
    if isinstance(scale_factor, (int, float)):
        size = [int(length * scale_factor) for length in input.shape[2:]]
    if not isinstance(size, Sequence) or len(size) != 2:
        return None
    return _empty((*input.shape[:2], *size), input.dtype)


def _pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor | None:
    if not _is_meta_float(input) or input.ndim != 4 or input.shape[1] % upscale_factor**2:
        return None
    batch, channels, *size = input.shape
    return _empty((batch, channels // upscale_factor**2, *(upscale_factor * side for side in size)), input.dtype)


def _sum(input: Tensor, dim: Any = None, keepdim: bool = False, **more: Any) -> Tensor | None:
    dims = [dim] if isinstance(dim, int) else dim
    if not _is_meta_float(input) or more or not dims or any(not -input.ndim <= d < input.ndim for d in dims):
        return None
    gone = {d % input.ndim for d in dims}
    sizes = [1 if i in gone else side for i, side in enumerate(input.shape) if keepdim or i not in gone]
    return _empty(sizes, input.dtype) if len(gone) == len(dims) else None


def _matmul(input: Tensor, other: Tensor) -> Tensor | None:
    if not _is_meta_float(input) or input.dtype != other.dtype or input.ndim < 2 or input.ndim != other.ndim:
        return None
    if input.shape[:-2] != other.shape[:-2] or input.shape[-1] != other.shape[-2]:
        return None
    return _empty((*input.shape[:-1], other.shape[-1]), input.dtype)


def _arange(*ends: Any, device: Any = None, dtype: torch.dtype = torch.long, **more: Any) -> Tensor | None:
    if len(ends) > 2 or more or device is None or torch.device(device).type != "meta":
        return None
    if not all(isinstance(end, int) for end in ends):
        return None
    return _empty((ends[-1] - (ends[0] if len(ends) == 2 else 0),), dtype)


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first, rank = tensors[0], tensors[0].ndim
    dim %= rank
    others = [(x.dtype, x.ndim, (*x.shape[:dim], *x.shape[dim + 1 :])) for x in tensors]
    if not all(x.is_meta for x in tensors) or len(set(others)) > 1:
        return None
    return _empty((*first.shape[:dim], sum(x.shape[dim] for x in tensors), *first.shape[dim + 1 :]), first.dtype)


def _broadcast(a: Any, b: Any) -> Tensor | None:
    tensors = [x for x in (a, b) if isinstance(x, Tensor)]
    if not all(x.is_meta for x in tensors) or not any(_is_meta_float(x) for x in tensors):
        return None
    rank = max(x.ndim for x in tensors)
    shapes = [(*[1] * (rank - x.ndim), *x.shape) for x in tensors]
    sizes = [{length for length in lengths if length != 1} for lengths in zip(*shapes, strict=True)]
    if any(len(lengths) > 1 for lengths in sizes):
        return None
    return _empty([*(lengths.pop() if lengths else 1 for lengths in sizes)], torch.result_type(a, b))


def _is_meta_float(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_meta and x.is_floating_point()


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


_RULES: dict[Callable[..., Any], Callable[..., Tensor | None]] = {
    F.linear: _linear,
    F.conv2d: _conv2d,
    F.scaled_dot_product_attention: _attention,
    F.embedding: _embedding,
    F.layer_norm: _norm,
    F.rms_norm: _norm,
    F.group_norm: _group_norm,
    F.interpolate: _nearest,
    torch.arange: _arange,
    F.pixel_shuffle: _pixel_shuffle,
    Tensor.mean: _sum,
    Tensor.sum: _sum,
    Tensor.matmul: _matmul,
    Tensor.__matmul__: _matmul,
    torch.matmul: _matmul,
    torch.bmm: _matmul,
    torch.cat: _cat,
    torch.nn.init.normal_: _unchanged,
}
