"""`Product`: what `intercept` tells of a matrix product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from codesign.workload.einsum import Contraction
from codesign.workload.functions import Arguments


@dataclass(slots=True)
class Product:
    """One matrix product, before it runs."""

    layer: str  # key of the Assignment
    kind: str  # conv | linear | attention_qk | attention_pv
    function: str  # conv2d, conv_transpose2d, linear, scaled_dot_product_attention, matmul, einsum, ...
    input: Tensor  # the streamed operand; of a fused attention_pv, a meta tensor in place of the probabilities
    stationary: Tensor  # the weight, key or value
    input_axis: int = -1  # contraction axis of input
    # contraction axis of stationary: 1 for a convolution's weight [out, in / groups, ...], 0 if transposed
    stationary_axis: int = -1
    groups: int = 1  # of a convolution
    einsum: Contraction | None = None  # roles of the labels, if the product is an einsum
    idle: int = 0  # elements of stationary that are not read: of experts without a row
    spare: bool = False  # whether nothing else reads `input`, so that its memory may be used for another
    # other arguments of the function: of a convolution or linear layer what follows the weight (bias, stride, ...), of
    # scaled_dot_product_attention what follows the value, of addmm and baddbmm what is added, and then the others
    rest: Arguments = ()
    options: Mapping[str, Any] = field(default_factory=dict)  # the same by name
