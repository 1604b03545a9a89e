"""Quantized weights in ONNX: codes and scales as initializers, and what makes floats of them.

How a weight is written, so that ONNX Runtime computes it as it stands with all graph optimisations on (tried with
1.32.0; reports/exports.md holds the figures):

- ``DequantizeLinear`` of a matrix [K, N] in front of a ``MatMul`` becomes ``MatMulNBits``, which by default
  (``session.qdq_matmulnbits_accuracy_level`` 4) rounds the *activations* to 8 bits in blocks of their own: 44 dB where
  float sums would give 130. With activations in int8 it becomes ``MatMulIntegerToFloat``, also for scales in blocks,
  which that kernel cannot read: the session fails when it runs. Files of both kinds run with optimisations off only.
  Here a matrix stays [N, K], with blocks along K, and is transposed behind the ``DequantizeLinear``: it becomes
  ``FusedMatMul``, which reads floats. A weight with one scale per output channel is written as one block per row,
  unless its layer's activations are in int8 with a static scale: then it has its scales along an axis, as ONNX Runtime
  and TensorRT want it to multiply integers.
- There is no kernel for scales of type float8e8m0: they are bfloat16, which holds each of them.
- There is no kernel for float4e2m1: codes are uint4 and chosen from a table of 16 small integers (twice the values,
  with half the scale).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codesign.errors import CodesignError, InputError
from codesign.export.onnx.builder import Builder, Value
from codesign.export.scored import ScoredLayer, ScoredNetwork
from codesign.formats.elements import BF16, E2M1, E4M3, E5M2, E8M0, FP16, FP32, Element, FloatElement, IntElement
from codesign.formats.format import Quantized

CODES, SCALES, ZEROS, OUTER = "codes", "scales", "zero_points", "tensor_scale"
_TYPES: dict[Element, str] = {
    **{IntElement(b, narrow=n): f"INT{b}" for b in (4, 8, 16) for n in (False, True)},
    **{IntElement(b, signed=False): f"UINT{b}" for b in (4, 8, 16)},
    IntElement(8, narrow=True, fraction_bits=6): "INT8",  # of mxint8
    E4M3: "FLOAT8E4M3FN",
    E5M2: "FLOAT8E5M2",
    E2M1: "UINT4",  # places in a table
}
_SCALE_TYPES = {FP32: "FLOAT", FP16: "FLOAT16", E8M0: "BFLOAT16", E4M3: "FLOAT8E4M3FN"}


@dataclass(frozen=True)
class Stored:
    """A weight as it lies in the file: NumPy arrays, whose types ONNX has by the given names."""

    codes: NDArray[Any]
    codes_type: str
    scales: NDArray[Any] | None
    scales_type: str
    zero_points: NDArray[Any] | None
    outer: float | None  # scale of all scales, of nvfp4
    axis: int
    block: int | None  # elements that share a scale along `axis`; None: one scale for each index of `axis`
    transposed: bool  # whether codes are those of the transposed matrix
    table: NDArray[Any] | None  # of the numbers that codes stand for


def onnx_type(element: Element) -> str | None:
    """The name of ONNX's type that codes of an element are stored in; None if there is none."""
    return _TYPES.get(element)


def stored(network: ScoredNetwork, layer: ScoredLayer) -> Stored:
    """The arrays of a layer's weight. Raises InputError if ONNX has no type for its codes."""
    q = network.weight(layer.name)
    fmt = q.format
    if fmt.is_cast:
        values = network.values(layer.name)
        kind = {FP16: "FLOAT16", BF16: "BFLOAT16"}.get(fmt.element) if isinstance(fmt.element, FloatElement) else None
        if kind is None:
            raise InputError(f"layer '{layer.name}': ONNX holds no weights in '{fmt.name}'")
        return Stored(_array(values, kind), kind, None, "", None, None, 0, None, False, None)
    kind = onnx_type(fmt.element)
    if kind is None or fmt.scaling is None or fmt.scaling.scale not in _SCALE_TYPES:
        raise InputError(f"layer '{layer.name}': ONNX has no type for elements of '{fmt.name}'")
    codes, axis = network.in_place(layer.name, q.codes), layer.product.stationary_axis % layer.product.stationary.ndim
    transposed = layer.kind == "linear" and codes.ndim == 2 and axis == 0
    if transposed:
        codes, axis = codes.T, 1
    assert q.scales is not None
    of_element = _per_element(network, layer, q, q.scales, transposed)
    zeros = None if q.zero_points is None else _per_element(network, layer, q, q.zero_points.float(), transposed)
    block = _block(q, layer, codes, axis)
    channel = _channel_axis(layer, q, codes.ndim, axis)
    places: tuple[Any, ...]
    if channel is not None:
        places = tuple(slice(None) if dim == channel else 0 for dim in range(codes.ndim))
    else:
        places = tuple(slice(None, None, block) if dim == axis else slice(None) for dim in range(codes.ndim))
    _check_shared(layer.name, of_element, channel, axis, block)
    factor = 2.0 ** -getattr(fmt.element, "fraction_bits", 0) * (0.5 if fmt.element == E2M1 else 1.0)
    outer = None if q.tensor_scale is None else float(q.tensor_scale) * factor
    scales = of_element[places] * (1.0 if outer is not None else factor)
    scales_type = _SCALE_TYPES[fmt.scaling.scale]
    return Stored(
        _array(codes, kind),
        kind,
        _array(scales, scales_type),
        scales_type,
        None if zeros is None else _array(zeros[places], kind),
        outer,
        axis if channel is None else channel,
        block if channel is None else None,
        transposed,
        (fmt.element.decode(torch.arange(16, dtype=torch.uint8)) * 2).to(torch.int8).numpy()
        if fmt.element == E2M1
        else None,
    )


def emit(build: Builder, network: ScoredNetwork, layer: ScoredLayer) -> Value:
    """Write a layer's weight into the graph; returns its value as float32, in the shape of its parameter."""
    import onnx_ir as ir

    found = stored(network, layer)
    name = f"{layer.name}.weight"
    build.prefix = name
    float32 = int(ir.DataType.FLOAT)
    codes = build.tensor(f"{name}.{CODES}", found.codes, ir.DataType[found.codes_type])
    if found.scales is None:
        return build("Cast", codes, to=float32)
    scales = build.tensor(f"{name}.{SCALES}", found.scales, ir.DataType[found.scales_type])
    if found.outer is not None:
        scales = build("DequantizeLinear", scales, build.tensor(f"{name}.{OUTER}", np.asarray(found.outer, np.float32)))
    elif found.scales_type != "FLOAT":
        scales = build("Cast", scales, to=float32)
    if found.table is not None:
        table = build.tensor(f"{name}.table", found.table)
        places = build("Cast", codes, to=int(ir.DataType.INT32), dtype=ir.DataType.INT32)
        codes = build("Gather", table, places, dtype=ir.DataType.INT8)
    zeros = (
        []
        if found.zero_points is None
        else [build.tensor(f"{name}.{ZEROS}", found.zero_points, ir.DataType[found.codes_type])]
    )
    blocks = {} if found.block is None else {"block_size": found.block}
    value = build("DequantizeLinear", codes, scales, *zeros, axis=found.axis, **blocks)
    return build("Transpose", value, perm=[1, 0]) if found.transposed else value


def _per_element(network: ScoredNetwork, layer: ScoredLayer, q: Quantized, of_rows: Tensor, transposed: bool) -> Tensor:
    """Scales or zero points of each element, in the shape of the codes in the file."""
    length = q.codes.shape[-1]
    if q.format.is_block and q.format.scaling is not None and q.format.scaling.block is not None:
        of_rows = of_rows.repeat_interleave(q.format.scaling.block, dim=-1).narrow(-1, 0, length)
    found = network.in_place(layer.name, of_rows.expand(q.codes.shape))
    return found.T if transposed else found


def _block(q: Quantized, layer: ScoredLayer, codes: Tensor, axis: int) -> int:
    """How many elements along the contraction share a scale, at most those of a group of channels."""
    length = codes.shape[axis] if layer.kind == "linear" else q.codes.shape[-1]
    block = q.format.scaling.block if q.format.scaling is not None else None
    return min(block or length, length)


def _channel_axis(layer: ScoredLayer, q: Quantized, ndim: int, axis: int) -> int | None:
    """The axis along which scales lie, if they are one for each of its indices and are to be written so."""
    if q.format.is_block:
        return None
    if layer.kind == "conv":
        return 1 - axis if axis == 1 or layer.product.groups == 1 else None
    integers = isinstance(q.format.element, IntElement) or q.format.element == E2M1  # by its table
    static = layer.operands["input"].scale is not None
    multiplied = q.format.name == "int8" and layer.operands["input"].format.name == "int8" and static
    return 1 - axis if ndim == 2 and (multiplied or not integers) else None


def _check_shared(layer: str, of_element: Tensor, channel: int | None, axis: int, block: int) -> None:
    """Raise InputError if scales are not shared as ONNX can write it, as across the groups of a transposed
    convolution whose blocks are ragged."""
    if channel is not None:
        first = of_element.movedim(channel, 0).flatten(1)
        equal = bool((first == first[:, :1]).all())
    else:
        length = of_element.shape[axis]
        places = torch.arange(length) // block * block
        equal = bool((of_element.index_select(axis, places) == of_element).all())
    if not equal:
        raise InputError(f"layer '{layer}': the blocks of its weight are not a row of whole ones, as ONNX wants them")


def _array(x: Tensor, kind: str) -> NDArray[Any]:
    """A tensor of codes (bit patterns of minifloats) or of numbers as NumPy has ONNX's type `kind`."""
    import ml_dtypes

    x = x.detach().cpu().contiguous()
    if kind == "FLOAT":
        return x.numpy()
    if kind.startswith("FLOAT8"):
        if x.dtype != torch.uint8:  # scales, which are such numbers
            x = E4M3.encode(x)
        return x.numpy().view(ml_dtypes.float8_e4m3fn if kind == "FLOAT8E4M3FN" else ml_dtypes.float8_e5m2)
    if kind in ("FLOAT16", "BFLOAT16"):
        cast = x.to(torch.float16 if kind == "FLOAT16" else torch.bfloat16)
        if not torch.equal(cast.to(x.dtype), x):
            raise CodesignError(f"{kind} does not hold the numbers of a scale")
        return cast.view(torch.int16).numpy().view(np.float16 if kind == "FLOAT16" else ml_dtypes.bfloat16)
    if kind in ("INT4", "UINT4"):
        return x.to(torch.int16).numpy().astype(ml_dtypes.int4 if kind == "INT4" else ml_dtypes.uint4)
    return x.to(torch.int32).numpy().astype(kind.lower())
