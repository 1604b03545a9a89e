"""Intercepts the matrix products of a module while it runs: names them and optionally replaces their operands.

`trace` and the quality package share this mechanism, so that the products that are costed are those that are quantized:

- a `TorchFunctionMode` intercepts every convolution, linear, attention and matrix product before it runs;
- forward hooks maintain the stack of running modules, which names products without a parameter.

Layer names
    A product with a parameter is named after that parameter without ``.weight``: for an ordinary `nn.Conv2d` or
    `nn.Linear`, by the name of the module. A slice of a parameter adds its rows, as in ``attn.in_proj_weight#64-128``.
    A computed weight (weight norm, a cast) is named after the innermost running module; a second one in the same call
    adds ``#1``.
    A product of two activations is taken for attention and named after the innermost running module. Within one call of
    a module the first such product is `attention_qk` and the second `attention_pv`; the third and fourth are a second
    pair, named ``<module>#1``, and so on. Each call of `scaled_dot_product_attention` is a pair of its own. The root
    module is called ``root``.
Not intercepted
    Outer products (contraction length 1, such as rotary angles), integer products, and products outside of the module
    that do not use its parameters (a sampler, a metric's own network).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.overrides import TorchFunctionMode

from codesign.errors import InputError
from codesign.workload.attention import Compute, attend, attend_in_parts, standins
from codesign.workload.composite import OPENED, Reentered
from codesign.workload.einsum import contraction
from codesign.workload.functions import (
    SPARSE,
    UNSUPPORTED,
    Arguments,
    argument,
    exported,
    functions,
    leading,
    overloads,
)
from codesign.workload.naming import CallStack, Frame, WeightNames, numbered
from codesign.workload.product import Product
from codesign.workload.rooms import Rooms

Handler = Callable[[Product], tuple[Tensor, Tensor] | Tensor | None]
Observer = Callable[[Product, Tensor], None]


class ProductInterceptor(TorchFunctionMode):
    """Context manager in which `handler` is called before each matrix product of `module`.

    Args:
        handler: receives a `Product`; returns the operands ``(input, stationary)`` to use instead, or the function's
            result, bias and scale included (of an attention only if it is decomposed), or None.
        after: receives each product and its output.
        decompose: whether to compute `F.scaled_dot_product_attention` as two products (a flag, or a predicate on the
            layer name), so that the handler receives the probabilities; if it stays fused, a replacement for the
            probabilities is ignored.
        strict: whether to refuse matrix products of an unsupported kind.
        names: tensors by qualified name that replace the module's parameters (`torch.func.functional_call`).
        in_parts: whether the handler may receive the products of a decomposed call for a part of the batch at a time.
        alone: receives both operands and the result of each product that is not a layer.

    The context is re-entrant; hooks are removed at the end of the outermost ``with``.

    Raises:
        InputError: with ``strict``, on a matrix product of an unsupported kind (an LSTM, a 3-operand einsum).
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
        in_parts: bool = False,
        alone: Callable[[Tensor, Tensor, Tensor], None] | None = None,
    ) -> None:
        super().__init__()
        self._in_parts, self._alone = in_parts, alone
        self.module, self.handler, self.after, self.strict = module, handler, after, strict
        self._decompose: Callable[[str], bool] = decompose if callable(decompose) else lambda _: decompose
        self._calls = CallStack(module)
        self._stack = self._calls.frames
        self._standins = dict(names or {})
        self._weights: WeightNames
        self._depth = 0
        self._rooms = Rooms()
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
            if self.strict and isinstance(func, HigherOrderOperator):
                self._refuse(func, "(a higher-order operator): write it with scaled_dot_product_attention or matmul")
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
        table |= dict.fromkeys(functions("matmul", "bmm", "mm", "__matmul__"), self._matmul)
        table |= dict.fromkeys(functions("baddbmm", "addmm"), self._matmul_add)
        table |= dict.fromkeys(functions("grouped_mm", "_grouped_mm"), self._grouped)
        table |= {each: table[func] for func, each in exported(*table)}
        table[torch.ops.aten.einsum.default] = self._exported_einsum
        if self.strict:
            table |= dict.fromkeys(functions(*UNSUPPORTED), self._unsupported)
            table |= {each: self._unsupported for name in UNSUPPORTED for each in overloads(name)}
            table |= dict.fromkeys(functions(*SPARSE), self._sparse)
            table |= dict.fromkeys((torch.sparse.mm, torch.sparse.addmm, torch.sparse.sampled_addmm), self._sparse)
        return table

    def _run(self, product: Product, compute: Compute) -> Tensor:
        """Call the handler, compute the product, call `after`; a product of nothing is left alone."""
        if not (product.input.numel() and product.stationary.numel()):
            return compute(product.input, product.stationary)
        replaced = self.handler(product) if self.handler is not None else None
        if not isinstance(replaced, Tensor):
            replaced = compute(*(replaced or (product.input, product.stationary)))
        if self.after is not None:
            self.after(product, replaced)
        return replaced

    # ---- one method for each kind of function ------------------------------------------------

    def _conv(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (x, w), rest, kwargs = leading(args, kwargs, ("input", "weight"))
        return self._weighted(func, "conv", x, w, rest, kwargs, 1 - w.ndim, 1, argument(rest, kwargs, 4, "groups"))

    def _conv_transpose(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (x, w), rest, kwargs = leading(args, kwargs, ("input", "weight"))
        return self._weighted(func, "conv", x, w, rest, kwargs, 1 - w.ndim, 0, argument(rest, kwargs, 4, "groups"))

    def _linear(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (x, w), rest, kwargs = leading(args, kwargs, ("input", "weight"))
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
        groups: int = 1,
    ) -> Any:
        """Like `_run`, without a closure: most products of every evaluation take this path."""
        if self.strict and not (x.layout == w.layout == torch.strided):
            self._sparse(func, (x, w), {})
        layer = self._weight_name(w, computed=True)
        if layer is None or not x.numel():
            return func(x, w, *rest, **kwargs)
        product = Product(
            layer, kind, func.__name__, x, w, input_axis, stationary_axis, groups, None, 0, False, rest, kwargs
        )
        replaced = self.handler(product) if self.handler is not None else None
        if not isinstance(replaced, Tensor):
            replaced = func(*(replaced or (x, w)), *rest, **kwargs)
        if self.after is not None:
            self.after(product, replaced)
        return replaced

    def _attention(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        (q, k, v), args, kwargs = leading(args, kwargs, ("query", "key", "value"))
        if not self._stack:
            return func(q, k, v, *args, **kwargs)
        frame, name = self._stack[-1], "scaled_dot_product_attention"
        frame.attention += frame.attention % 2  # a fused call always begins a new pair
        layer = numbered(frame.name, frame.attention // 2)
        frame.attention += 2

        def qk(q: Tensor, k: Tensor, compute: Compute) -> Tensor:
            return self._run(Product(layer, "attention_qk", name, q, k, rest=args, options=kwargs), compute)

        def pv(p: Tensor, v: Tensor, compute: Compute) -> Tensor:
            return self._run(Product(layer, "attention_pv", name, p, v, -1, -2, spare=not kept), compute)

        # whether scores and probabilities outlive the call, or change their types in it
        kept = self.after is not None or torch.is_grad_enabled() or torch.is_autocast_enabled(q.device.type)
        if self._decompose(layer):
            run = attend_in_parts if self._in_parts and not kept else attend
            return run(q, k, v, *args, **kwargs, qk=qk, pv=pv, rooms=None if kept else self._rooms)
        scores = standins(q, k)
        operands: list[Tensor] = []

        def keep(q: Tensor, k: Tensor) -> Tensor:
            operands.extend((q, k))
            return scores

        qk(q, k, keep)
        return pv(scores, v, lambda _, v: func(*operands, v, *args, **kwargs))

    def _matmul(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Tensor:
        other = "mat2" if func.__name__ in ("mm", "bmm") else "other"
        (a, b), args, kwargs = leading(args, kwargs, ("input", other))
        return self._two_operands(func, a, b, lambda a, b: func(a, b, *args, **kwargs))

    def _matmul_add(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Tensor:
        names = ("batch1", "batch2") if func.__name__ == "baddbmm" else ("mat1", "mat2")
        (c, a, b), args, kwargs = leading(args, kwargs, ("input", *names))
        return self._two_operands(func, a, b, lambda a, b: func(c, a, b, *args, **kwargs), (c, *args), kwargs)

    def _grouped(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        """Rows [T, K] by a bank of experts [E, K, N]: a linear layer, whose rows each meet one expert."""
        (x, w), rest, kwargs = leading(args, kwargs, ("input" if "input" in kwargs else "mat_a", "mat_b"))
        layer = self._weight_name(w, computed=True) if x.ndim == 2 and w.ndim == 3 else None
        if layer is None:
            self._refuse(func, "of two activations, or of other than [T, K] by [E, K, N]")
            return func(x, w, *rest, **kwargs)
        offsets = kwargs.get("offs", rest[0] if rest else None)  # where the rows of each expert end
        experts = len(w) if offsets is None or offsets.is_meta else len(offsets[offsets > 0].unique())
        idle = w[0].numel() * (len(w) - min(experts, len(x)))
        product = Product(layer, "linear", "grouped_mm", x, w, -1, -2, idle=idle)
        return self._run(product, lambda x, w: func(x, w, *rest, **kwargs))

    def _two_operands(
        self, func: Callable[..., Any], a: Tensor, b: Tensor, compute: Compute, rest: Arguments = (), options: Any = ()
    ) -> Tensor:
        """a @ b: a linear layer if one operand is a weight, else one of the products of an attention.

        A product of two parameters (LoRA's factors), or inside a parametrization, makes a weight and is no layer.
        """
        if self.strict and not (a.layout == b.layout == torch.strided):
            self._sparse(func, (a, b), {})
        if not a.is_floating_point():
            if a.is_complex() or b.is_complex():
                self._refuse(func, "of complex numbers")
            return compute(a, b)
        if self._makes_a_weight(a, b):
            return self._left_alone(a, b, compute)
        if a.ndim < 2 or b.ndim < 2:
            self._refuse(func, "of a vector")
            return compute(a, b)
        outer = a.shape[-1] == 1
        right = self._weight_name(b, computed=b.ndim == 2 < a.ndim)
        left = None if right else self._weight_name(a, computed=a.ndim == 2 < b.ndim)
        function = func.__name__.strip("_")
        if right or left:
            if outer:
                return self._left_alone(a, b, compute)
            if right:
                return self._run(
                    Product(right, "linear", function, a, b, -1, -2, rest=rest, options=dict(options)), compute
                )
            assert left is not None
            swapped = Product(left, "linear", function, b, a, -2, -1, rest=rest, options=dict(options))
            return self._run(swapped, lambda b, a: compute(a, b))
        found = self._half_of_attention(outer)
        if found is None:
            return self._left_alone(a, b, compute)
        layer, kind, frame = found
        if kind == "attention_qk":
            frame.scores = (a.shape[-2], b.shape[-1])
        elif frame.scores == (b.shape[-1], b.shape[-2]) and a.shape[-2] != b.shape[-1]:
            # v^T p^T, as in the original latent-diffusion code: the probabilities are the right operand
            swapped = Product(layer, kind, function, b, a, -2, -1, rest=rest, options=dict(options))
            return self._run(swapped, lambda b, a: compute(a, b))
        return self._run(Product(layer, kind, function, a, b, -1, -2, rest=rest, options=dict(options)), compute)

    def _left_alone(self, a: Tensor, b: Tensor, compute: Compute) -> Tensor:
        result = compute(a, b)
        if self._alone is not None:
            self._alone(a, b, result)
        return result

    def _makes_a_weight(self, a: Tensor, b: Tensor) -> bool:
        """Whether both operands are the module's own, or a parametrization is running."""
        if self._stack and ".parametrizations." in f".{self._stack[-1].name}.":
            return True
        return self._weights.owns(a) and self._weights.owns(b)

    def _einsum(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        operands = args[1:] if len(args) != 2 or isinstance(args[1], Tensor) else tuple(args[1])
        if not isinstance(args[0], str) or len(operands) > 2:
            self._refuse(func, "of more than two operands, or without an equation")
        if not isinstance(args[0], str) or len(operands) != 2 or not operands[0].is_floating_point():
            return func(*args, **kwargs)
        a, b = operands
        if self._makes_a_weight(a, b):
            return self._left_alone(a, b, lambda a, b: func(args[0], a, b))
        labels = contraction(args[0], a.ndim, b.ndim)
        if labels is None:
            self._refuse(func, f"'{args[0]}'")
        if labels is None or not labels.k:  # an outer or elementwise product
            return self._left_alone(a, b, lambda a, b: func(args[0], a, b))
        outer = all(a.shape[labels.a.index(label)] == 1 for label in labels.k)
        right = self._weight_name(b, computed=not labels.batch and b.ndim == 2 < a.ndim)
        left = None if right else self._weight_name(a, computed=not labels.batch and a.ndim == 2 < b.ndim)
        found = None if right or left else self._half_of_attention(outer)
        if (outer and (right or left)) or (found is None and not (right or left)):
            return self._left_alone(a, b, lambda a, b: func(args[0], a, b))
        layer, kind = (right or left, "linear") if found is None else found[:2]
        assert layer is not None
        axes = labels.axes()
        if left:
            swapped = Product(layer, kind, "einsum", b, a, axes[1], axes[0], einsum=labels.swapped())
            return self._run(swapped, lambda b, a: func(args[0], a, b))
        return self._run(Product(layer, kind, "einsum", a, b, *axes, einsum=labels), lambda a, b: func(args[0], a, b))

    def _exported_einsum(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        def einsum(equation: str, *operands: Tensor) -> Any:
            return func(equation, operands)

        return self._einsum(einsum, (args[0], *args[1]), {})

    def _composite(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        """Run one of torch's Python functions with the mode active inside it."""
        with Reentered(self):
            return OPENED[func](*args, **kwargs)

    def _unsupported(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        operands = [each for each in args if isinstance(each, Tensor)]
        if (
            operands
            and all(self._weights.owns(each) or each.ndim < 2 for each in operands)
            and any(self._weights.owns(each) for each in operands)
        ):
            return func(*args, **kwargs)  # a weight's norm, as spectral_norm finds it
        self._refuse(func, "(neither convolution, linear nor attention): write it with those, as torch.nn.Linear")
        return func(*args, **kwargs)

    def _sparse(self, func: Callable[..., Any], args: Arguments, kwargs: Mapping[str, Any]) -> Any:
        self._refuse(func, "of a sparse tensor: write it with dense ones")
        return func(*args, **kwargs)

    # ---- names ------------------------------------------------------------------------------

    def _weight_name(self, weight: Tensor, *, computed: bool) -> str | None:
        """Name of the layer that `weight` belongs to; None if it is not a weight of this module.

        computed: whether an unknown tensor in this position must be a weight computed by the running module.
        """
        frame = self._stack[-1] if self._stack else None
        name = self._weights.find(weight, frame)
        if name is not None or frame is None or not computed:
            return name
        frame.computed += 1
        return numbered(frame.name, frame.computed - 1)

    def _half_of_attention(self, outer: bool) -> tuple[str, str, Frame] | None:
        """Layer, kind and frame of the next product of two activations; None if it is not part of an attention.

        With a single key, p v has contraction length 1 too, so only a first product is rejected as an outer product.
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
            name = getattr(func, "__name__", str(func)).strip("_").partition(".")[0]
            raise InputError(f"module '{self._stack[-1].name}': unsupported matrix product {name} {what}")
