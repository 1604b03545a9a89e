"""Counts the vector work of a network (everything but matrix products) in elements while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from codesign.workload.liveness import Liveness

_NORMS = (
    *("layer_norm", "group_norm", "rms_norm", "native_layer_norm", "native_group_norm", "native_batch_norm"),
    *("_fused_rms_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "cudnn_batch_norm"),
)
_ACTIVATIONS = (
    *("silu", "gelu", "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "hardtanh", "hardswish", "hardsigmoid"),
    *("mish", "elu", "softplus", "glu", "exp", "erf"),
)
_ELEMENTWISE = (
    *("add", "radd", "sub", "rsub", "mul", "rmul", "div", "truediv", "rtruediv", "rpow", "neg", "pow", "sqrt"),
    *("rsqrt", "reciprocal", "mean", "sum", "amax", "where", "masked_fill", "clamp", "maximum", "minimum", "sin"),
    *("cos", "square", "addcmul", "addcdiv", "lerp", "abs"),
)
_KIND_OF = (
    dict.fromkeys(_NORMS, "norm")
    | dict.fromkeys(_ACTIVATIONS, "activation")
    | dict.fromkeys(_ELEMENTWISE, "elementwise")
)


_POINTWISE = {*_ACTIVATIONS, *_ELEMENTWISE, "clone", "_to_copy", "dropout"}


class VectorWork(TorchDispatchMode):
    """Context in which elements of vector work are counted by kind: norm, activation, elementwise.

    An operation counts the size of its result or of its largest operand, whichever is larger (a mean reads more than it
    writes). Softmax is not counted, since fused attention hides it; it follows from the size of the scores. Copies,
    views and concatenations only change addresses and count nothing. `liveness` records every operation.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in torch 2.13
        self.liveness = Liveness()
        self._elements: Counter[str] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in this context; the default would import torch's compiler, which takes two seconds."""
        return False

    def take(self) -> Counter[str]:
        """Elements by kind since the last call."""
        found, self._elements = self._elements, Counter()
        return found

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name: str = func._schema.name.partition("::")[2]
        self.see(name if name in _KIND_OF else name.rstrip("_"), result, (args, kwargs))
        return result

    def see(self, name: str, result: Any, arguments: Any) -> None:
        """Count and record one operation."""
        results, operands = _tensors(result), _tensors(arguments)
        largest = max((tensor.numel() for tensor in operands), default=0)
        whole = bool(results) and results[0].numel() == largest
        self.liveness.see(operands, results, pointwise=name in _POINTWISE and whole)
        if (kind := _KIND_OF.get(name)) is not None:
            floats = [tensor.numel() for tensor in (*results, *operands) if tensor.is_floating_point()]
            self._elements[kind] += max(floats, default=0)


def _tensors(tree: Any) -> list[Tensor]:
    """The dense tensors of a tree: sparse ones have no storage to follow."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout == torch.strided]
