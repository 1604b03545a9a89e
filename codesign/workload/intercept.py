"""Recognise, name and (if asked) rewrite the matrix products of a module while it runs.

The tracer and the quality room share this one mechanism, so what is costed is what is quantized:

- a `TorchFunctionMode` sees every convolution, linear, attention and matrix product before it runs;
- forward hooks keep the stack of running modules, which names the products without a parameter.

How layers are named
    A product with a parameter carries the qualified name of that parameter without ``.weight``: for an
    ordinary `nn.Conv2d` or `nn.Linear`, the name of the module. A slice adds its rows, as in
    ``attn.in_proj_weight#64-128``. A weight that is computed (weight norm, a cast) carries the name of
    the innermost running module, a second one in the same call ``#1``.
    A product of two activations is attention and carries the name of the innermost running module.
    Within one call of a module the first such matmul is `attention_qk`, the second `attention_pv`;
    a third and fourth are a second pair, named ``<module>#1``, and so on. Each call of
    `scaled_dot_product_attention` is a pair of its own. The root module is called ``root``.
What is left alone
    Outer products (contraction length 1, e.g. rotary angles), integer products, and anything that
    runs outside of the module and without its parameters (a sampler, a metric's own network).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from codesign.errors import InputError
from codesign.workload.attention import Compute, attend, standins
from codesign.workload.einsum import Contraction, contraction
from codesign.workload.naming import CallStack, Frame, WeightNames, numbered

Arguments = tuple[Any, ...]

# products that are neither convolution, linear layer nor half of an attention
UNSUPPORTED = (
    *("mv", "addmv", "addbmm", "tensordot", "chain_matmul", "multi_dot", "inner", "bilinear"),
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
)


@dataclass(slots=True)
class Product:
    """One matrix product before it runs.

    `input` is streamed, `stationary` is the weight, the key or the value. The axes are those of the
    contraction: 1 (channels in) for a convolution's weight ``[out, in/groups, ...]``, 0 for that of a
    transposed one. For a fused attention, the probabilities are a stand-in on the meta device.
    """

    layer: str  # key of the Assignment
    kind: str  # conv | linear | attention_qk | attention_pv
    function: str  # conv2d, conv_transpose2d, linear, scaled_dot_product_attention, matmul, einsum, ...
    input: Tensor
    stationary: Tensor
    input_axis: int = -1
    stationary_axis: int = -1
    einsum: Contraction | None = None  # how an einsum's labels divide into batch, m, n, k


Handler = Callable[[Product], tuple[Tensor, Tensor] | None]
Observer = Callable[[Product, Tensor], None]


class ProductInterceptor(TorchFunctionMode):
    """While entered, calls `handler` before each matrix product of `module`.

    `handler(product)` returns the operands to use instead, ``(input, stationary)``, or None to leave
    them. `after(product, output)` sees each result. `decompose` (a flag, or a predicate on the layer
    name) computes `F.scaled_dot_product_attention` as two products, so that the handler also gets the
    probabilities; otherwise it stays fused, and what is returned for the probabilities is ignored.
    `names` adds stand-ins for the module's tensors (`torch.func.functional_call`) by qualified name.
    Entering again while entered does nothing; hooks go when the outermost ``with`` ends.

    Raises:
        InputError: with ``strict``, on a matrix product of an unknown kind (an LSTM, a 3-operand einsum).
    """

    def __init__(
        self,
        module: nn.Module,
        handler: Handler | None = None,
        *,
        after: Observer | None = None,
        decompose: bool | Callable[[str], bool] = False,
        strict: bool = False,
        names: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.module, self.handler, self.after, self.strict = module, handler, after, strict
        self._decompose: Callable[[str], bool] = decompose if callable(decompose) else lambda _: decompose
        self._calls = CallStack(module)
        self._stack = self._calls.frames
        self._standins = dict(names or {})
        self._weights: WeightNames
        self._depth = 0
        self._table = self._dispatch_table()

    # ---- entering and leaving ---------------------------------------------------------------

    def __enter__(self) -> ProductInterceptor:
        self._depth += 1
        if self._depth == 1:
            self._weights = WeightNames(self.module, self._standins)
            self._calls.start(self._weights.shared)
            TorchFunctionMode.__enter__(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            TorchFunctionMode.__exit__(self, *exc)
            self._calls.stop()

    # ---- the mode ---------------------------------------------------------------------------

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Arguments = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        entry = self._table.get(func)
        if entry is None:
            return func(*args, **kwargs) if kwargs else func(*args)
        return entry(func, args, kwargs or {})

    def _dispatch_table(self) -> dict[Callable[..., Any], Callable[..., Any]]:
        table: dict[Callable[..., Any], Callable[..., Any]] = {
            F.linear: self._linear,
            F.scaled_dot_product_attention: self._attention,
            F.multi_head_attention_forward: self._composite,
            torch.einsum: self._einsum,
        }
        table |= dict.fromkeys((F.conv1d, F.conv2d, F.conv3d), self._conv)
        table |= dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), self._conv_transpose)
        table |= dict.fromkeys(_functions("matmul", "bmm", "mm", "__matmul__"), self._matmul)
        table |= dict.fromkeys(_functions("baddbmm", "addmm"), self._matmul_add)
        if self.strict:
            table |= dict.fromkeys(_functions(*UNSUPPORTED), self._unsupported)
        return table

    def _run(self, product: Product, compute: Compute) -> Tensor:
        """Handler, product, observer."""
        replaced = self.handler(product) if self.handler is not None else None
        output = compute(*(replaced or (product.input, product.stationary)))
        if self.after is not None:
            self.after(product, output)
        return output

    # ---- one method for each kind of function ------------------------------------------------

    def _conv(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (x, w), rest, kwargs = _operands(args, kwargs, ("input", "weight"))
        return self._weighted(func, "conv", x, w, rest, kwargs, 1 - w.ndim, 1)

    def _conv_transpose(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (x, w), rest, kwargs = _operands(args, kwargs, ("input", "weight"))
        return self._weighted(func, "conv", x, w, rest, kwargs, 1 - w.ndim, 0)

    def _linear(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (x, w), rest, kwargs = _operands(args, kwargs, ("input", "weight"))
        return self._weighted(func, "linear", x, w, rest, kwargs, -1, -1)

    def _weighted(
        self,
        func: Callable[..., Any],
        kind: str,
        x: Tensor,
        w: Tensor,
        rest: Arguments,
        kwargs: Mapping[str, Any],
        input_axis: int,
        stationary_axis: int,
    ) -> Any:
        """`_run` without its closure: most products pass here, in every evaluation."""
        layer = self._weight_name(w, computed=True)
        if layer is None:
            return func(x, w, *rest, **kwargs)
        product = Product(layer, kind, func.__name__, x, w, input_axis, stationary_axis)
        if self.handler is not None:
            x, w = self.handler(product) or (x, w)
        output = func(x, w, *rest, **kwargs)
        if self.after is not None:
            self.after(product, output)
        return output

    def _attention(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (q, k, v), args, kwargs = _operands(args, kwargs, ("query", "key", "value"))
        if not self._stack:
            return func(q, k, v, *args, **kwargs)
        frame, name = self._stack[-1], "scaled_dot_product_attention"
        frame.attention += frame.attention % 2  # a fused call is always a pair of its own
        layer = numbered(frame.name, frame.attention // 2)
        frame.attention += 2

        def qk(q: Tensor, k: Tensor, compute: Compute) -> Tensor:
            return self._run(Product(layer, "attention_qk", name, q, k), compute)

        def pv(p: Tensor, v: Tensor, compute: Compute) -> Tensor:
            return self._run(Product(layer, "attention_pv", name, p, v, -1, -2), compute)

        if self._decompose(layer):
            return attend(q, k, v, *args, **kwargs, qk=qk, pv=pv)
        scores = standins(q, k)
        operands: list[Tensor] = []

        def keep(q: Tensor, k: Tensor) -> Tensor:
            operands.extend((q, k))
            return scores

        qk(q, k, keep)
        return pv(scores, v, lambda _, v: func(*operands, v, *args, **kwargs))

    def _matmul(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Tensor:
        other = "mat2" if func.__name__ in ("mm", "bmm") else "other"
        (a, b), args, kwargs = _operands(args, kwargs, ("input", other))
        return self._two_operands(func, a, b, lambda a, b: func(a, b, *args, **kwargs))

    def _matmul_add(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Tensor:
        names = ("batch1", "batch2") if func.__name__ == "baddbmm" else ("mat1", "mat2")
        (c, a, b), args, kwargs = _operands(args, kwargs, ("input", *names))
        return self._two_operands(func, a, b, lambda a, b: func(c, a, b, *args, **kwargs))

    def _two_operands(self, func: Callable[..., Any], a: Tensor, b: Tensor, compute: Compute) -> Tensor:
        """a @ b: a linear layer if one side is a parameter, else one half of an attention."""
        if not a.is_floating_point():
            return compute(a, b)
        if a.ndim < 2 or b.ndim < 2:
            self._refuse(func, "of a vector")
            return compute(a, b)
        outer = a.shape[-1] == 1
        right = self._weight_name(b, computed=b.ndim == 2 < a.ndim)
        left = None if right else self._weight_name(a, computed=a.ndim == 2 < b.ndim)
        function = func.__name__.strip("_")
        if right or left:
            if outer:
                return compute(a, b)
            if right:
                return self._run(Product(right, "linear", function, a, b, -1, -2), compute)
            assert left is not None
            return self._run(Product(left, "linear", function, b, a, -2, -1), lambda b, a: compute(a, b))
        found = self._half_of_attention(outer)
        if found is None:
            return compute(a, b)
        layer, kind, frame = found
        if kind == "attention_qk":
            frame.scores = (a.shape[-2], b.shape[-1])
        elif frame.scores == (b.shape[-1], b.shape[-2]) and a.shape[-2] != b.shape[-1]:
            # v^T p^T, as the first latent-diffusion code writes it: the probabilities stand on the right
            return self._run(Product(layer, kind, function, b, a, -2, -1), lambda b, a: compute(a, b))
        return self._run(Product(layer, kind, function, a, b, -1, -2), compute)

    def _einsum(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        operands = args[1:] if len(args) != 2 or isinstance(args[1], Tensor) else tuple(args[1])
        if not isinstance(args[0], str) or len(operands) > 2:
            self._refuse(func, "of more than two operands, or without an equation")
        if not isinstance(args[0], str) or len(operands) != 2 or not operands[0].is_floating_point():
            return func(*args, **kwargs)
        a, b = operands
        labels = contraction(args[0], a.ndim, b.ndim)
        if labels is None:
            self._refuse(func, f"'{args[0]}'")
        if labels is None or not labels.k:  # an outer or elementwise product
            return func(*args, **kwargs)
        outer = all(a.shape[labels.a.index(label)] == 1 for label in labels.k)
        right = self._weight_name(b, computed=not labels.batch and b.ndim == 2 < a.ndim)
        left = None if right else self._weight_name(a, computed=not labels.batch and a.ndim == 2 < b.ndim)
        found = None if right or left else self._half_of_attention(outer)
        if (outer and (right or left)) or (found is None and not (right or left)):
            return func(*args, **kwargs)
        layer, kind = (right or left, "linear") if found is None else found[:2]
        assert layer is not None
        axes = labels.axes()
        if left:
            swapped = Product(layer, kind, "einsum", b, a, axes[1], axes[0], labels.swapped())
            return self._run(swapped, lambda b, a: func(args[0], a, b))
        return self._run(Product(layer, kind, "einsum", a, b, *axes, labels), lambda a, b: func(args[0], a, b))

    def _composite(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        """Run a Python function of torch with the mode on inside of it."""
        with _Reentered(self):
            return _OPENED[func](*args, **kwargs)

    def _unsupported(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        self._refuse(func, "(neither convolution, linear nor attention): write it with those, as torch.nn.Linear")
        return func(*args, **kwargs)

    # ---- names ------------------------------------------------------------------------------

    def _weight_name(self, weight: Tensor, *, computed: bool) -> str | None:
        """Name of the layer that `weight` belongs to; None if it is no weight of this module.

        `computed`: an unknown tensor in this place can only be a weight that the running module made.
        """
        frame = self._stack[-1] if self._stack else None
        name = self._weights.find(weight, frame)
        if name is not None or frame is None or not computed:
            return name
        frame.computed += 1
        return numbered(frame.name, frame.computed - 1)

    def _half_of_attention(self, outer: bool) -> tuple[str, str, Frame] | None:
        """Layer, kind and frame of the next product of two activations; None if it is no attention.

        One key makes p v an outer product too, so only a first half can be an outer product by nature.
        """
        if not self._stack:
            return None
        frame = self._stack[-1]
        if outer and frame.attention % 2 == 0:
            return None
        kind = "attention_pv" if frame.attention % 2 else "attention_qk"
        layer = numbered(frame.name, frame.attention // 2)
        frame.attention += 1
        return layer, kind, frame

    def _refuse(self, func: Callable[..., Any], what: str) -> None:
        if self.strict and self._stack:
            raise InputError(f"module '{self._stack[-1].name}': unsupported matrix product {func.__name__} {what}")


class _Reentered:
    """Push the mode once more while torch has popped it for the duration of its own call."""

    def __init__(self, mode: ProductInterceptor) -> None:
        self._mode = mode

    def __enter__(self) -> None:
        TorchFunctionMode.__enter__(self._mode)

    def __exit__(self, *exc: Any) -> None:
        TorchFunctionMode.__exit__(self._mode, *exc)


def _opened(func: Any) -> Callable[..., Any]:
    """`func` without its own override check, which would hand every call back to the mode for ever."""
    scope = {**func.__globals__, "has_torch_function": lambda _: False}
    opened = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    opened.__kwdefaults__ = func.__kwdefaults__
    return opened


_OPENED: dict[Any, Callable[..., Any]] = {F.multi_head_attention_forward: _opened(F.multi_head_attention_forward)}


def _functions(*names: str) -> list[Callable[..., Any]]:
    """The functions and tensor methods of these names."""
    spaces = (torch, Tensor, torch.functional, torch.linalg, F)
    return [getattr(space, name) for space in spaces for name in names if hasattr(space, name)]


def _operands(
    args: Arguments, kwargs: Mapping[str, Any], names: tuple[str, ...]
) -> tuple[Arguments, Arguments, Mapping[str, Any]]:
    """The leading operands, given by position or name; then the remaining arguments."""
    if len(args) >= len(names):
        return args[: len(names)], args[len(names) :], kwargs
    rest = dict(kwargs)
    return (*args, *(rest.pop(name) for name in names[len(args) :])), (), rest
