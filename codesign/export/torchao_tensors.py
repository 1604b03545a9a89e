"""Weights as tensors of torchao: the codes and scales that were scored, in the class that computes with them.

``IntxUnpackedToInt8Tensor``  integers up to 8 bits, in groups too, with zero points too; float activations, or int8
                              with a scale and a zero point per token that come from the data (``int8_zp_token``)
``Int8Tensor``                int8 with calibrated int8 activations
``Float8Tensor``              fp8 with float activations, or e4m3 with a scale per token
``MXTensor``                  OCP Microscaling on both sides (``KernelPreference.EMULATED``: on every device)
``NVFP4Tensor``               nvfp4 with float activations

Each is constructed from its parts, never by the ``from_hp`` of its class, which chooses scales itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.export.proof import check_equal
from codesign.export.scored import Operand, ScoredLayer, ScoredNetwork
from codesign.formats import Format
from codesign.formats.format import Quantized

_LAYERS = (nn.Linear, nn.Conv2d)  # whose weights torchao's tensors dispatch
PER_TOKEN = ("int8_zp_token", "int8_token")  # activations; the second ones are rounded as the first, see torchao.yaml


def quantized_layers(network: ScoredNetwork) -> Iterator[ScoredLayer]:
    """The layers whose weights become tensors of torchao."""
    for layer in network.weighted.values():
        if not layer.weight_format.is_cast:
            yield layer


def cast_layers(network: ScoredNetwork) -> Iterator[ScoredLayer]:
    """The layers whose weights are rounded to 16 bits, and kept as float32 numbers."""
    for layer in network.weighted.values():
        if layer.weight_format.is_cast and layer.weight_format.name != "fp32":
            yield layer


def check_modules(network: ScoredNetwork) -> None:
    """Raise InputError with the first layer that is no module whose weight torchao computes with."""
    for layer in quantized_layers(network):
        owner = _owner(network, layer)
        if type(owner) not in _LAYERS:
            what = "no module of its own" if owner is None else f"a {type(owner).__name__}"
            known = " and ".join(kind.__name__ for kind in _LAYERS)
            raise InputError(f"layer '{layer.name}' is {what}, and torchao takes weights of {known}")
    for layer in cast_layers(network):
        if _owner(network, layer) is None:
            raise InputError(f"layer '{layer.name}' is no module of its own, whose weight could be rounded alone")


def _owner(network: ScoredNetwork, layer: ScoredLayer) -> nn.Module | None:
    """The module whose weight a layer has; None if it has a part of one, or computes it."""
    if layer.parameter != f"{layer.name}.weight":
        return None
    found = network.module.get_submodule(layer.name)
    weight: Tensor = found.get_parameter("weight")
    return found if weight.shape == layer.product.stationary.shape else None


def tensor_of(network: ScoredNetwork, layer: ScoredLayer) -> Tensor:
    """The weight of a layer, in the shape of its parameter."""
    q = network.weight(layer.name)
    operand, dtype = layer.operands["input"], layer.product.stationary.dtype
    element = q.format.element
    if q.format.name.startswith("fp8"):
        return _float8(q, operand, dtype)
    if q.tensor_scale is not None:
        return _nvfp4(q, dtype)
    if q.format.is_block and q.format.name.startswith("mx"):
        return _mx(q, operand, dtype)
    if operand.range is not None:
        return _int8_static(q, operand, dtype)
    return _intx(network, layer, q, element.bits, operand, dtype)


def _intx(
    network: ScoredNetwork, layer: ScoredLayer, q: Quantized, bits: int, operand: Operand, dtype: torch.dtype
) -> Tensor:
    from torchao.quantization import IntxUnpackedToInt8Tensor
    from torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor import (
        IntxUnpackedToInt8TensorActivationQuantization as Activations,
    )

    shape = layer.product.stationary.shape
    codes, scales, zero_points = _signed(q)
    block = q.format.scaling.block if q.format.scaling is not None else None
    run = block or shape[1]  # of input channels, which a plain format's scale spans with all taps
    found, size = (codes, scales, zero_points), (1, run, *shape[2:])
    if len(shape) > 2:
        ones = (1,) * len(shape[2:])
        taps = tuple(shape[2:]) if block else ones  # that have scales of their own
        found = network.in_place(layer.name, codes), _of_taps(scales, taps), _of_taps(zero_points, taps)
        size = (1, run, *(ones if block else shape[2:]))
    # the string that the enumeration's member equals: its safetensors (0.18) write the member and cannot read it again
    activations = Activations.INT8_ASYM_PER_TOKEN.value if operand.format.name in PER_TOKEN else None
    parts = (each.contiguous() for each in found)
    return _tensor(IntxUnpackedToInt8Tensor(*parts, getattr(torch, f"int{bits}"), size, dtype, activations))


def _signed(q: Quantized) -> tuple[Tensor, Tensor, Tensor]:
    """Codes and zero points as int8: unsigned ones less half of their range, which leaves their difference alone."""
    assert q.scales is not None
    if q.zero_points is None:
        return q.codes.to(torch.int8), q.scales, torch.zeros_like(q.scales, dtype=torch.int8)
    half = 1 << (q.format.element.bits - 1)
    codes, zero_points = ((each.to(torch.int16) - half).to(torch.int8) for each in (q.codes, q.zero_points))
    return codes, q.scales, zero_points


def _of_taps(scales: Tensor, taps: tuple[int, ...]) -> Tensor:
    """Scales [N, T, blocks] of a convolution as [N, blocks, taps...]."""
    n, _, blocks = scales.shape
    return scales.transpose(1, 2).reshape(n, blocks, *taps)


def _int8_static(q: Quantized, operand: Operand, dtype: torch.dtype) -> Tensor:
    from torchao.quantization import Int8Tensor, MappingType, PerTensor
    from torchao.quantization.quantize_.workflows import QuantizeTensorToInt8Kwargs

    assert q.scales is not None
    one = (1,) * operand.dims
    zero_point = None if operand.zero_point is None else torch.full(one, operand.zero_point - 128, dtype=torch.int8)
    mapping = MappingType.SYMMETRIC if zero_point is None else MappingType.ASYMMETRIC
    return _tensor(
        Int8Tensor(
            q.codes,
            q.scales,
            [1, q.codes.shape[1]],
            dtype,
            act_quant_scale=torch.full(one, float(operand.scale or 1.0)),
            act_quant_zero_point=zero_point,
            act_quant_kwargs=QuantizeTensorToInt8Kwargs(PerTensor(), mapping),
        )
    )


def _float8(q: Quantized, operand: Operand, dtype: torch.dtype) -> Tensor:
    from torchao.float8.inference import Float8MMConfig
    from torchao.quantization import Float8Tensor, PerRow
    from torchao.quantization.quantize_.common import KernelPreference
    from torchao.quantization.quantize_.workflows import QuantizeTensorToFloat8Kwargs

    kernel, matmul = KernelPreference.TORCH, Float8MMConfig()
    activations = None
    if not operand.format.is_cast:
        activations = QuantizeTensorToFloat8Kwargs(
            float8_type(operand.format), PerRow(), matmul, kernel_preference=kernel
        )
    codes = q.codes.view(float8_type(q.format))
    return _tensor(
        Float8Tensor(codes, q.scales, [1, codes.shape[1]], matmul, activations, kernel_preference=kernel, dtype=dtype)
    )


def _mx(q: Quantized, operand: Operand, dtype: torch.dtype) -> Tensor:
    from torchao.prototype.mx_formats.mx_tensor import MXTensor, QuantizeTensorToMXKwargs
    from torchao.quantization.quantize_.common import KernelPreference

    assert q.scales is not None
    kind = mx_type(q.format)
    codes = _pairs(q.codes) if kind == torch.float4_e2m1fn_x2 else q.codes.view(kind)
    activations = QuantizeTensorToMXKwargs(mx_type(operand.format), kernel_preference=KernelPreference.EMULATED)
    scales = q.scales.to(torch.float8_e8m0fnu)
    return _tensor(MXTensor(codes, scales, kind, 32, dtype, KernelPreference.EMULATED, activations, False))


def _nvfp4(q: Quantized, dtype: torch.dtype) -> Tensor:
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor

    assert q.scales is not None
    outer = None if q.tensor_scale is None else q.tensor_scale.reshape(())
    return _tensor(NVFP4Tensor(_pairs(q.codes), q.scales.to(torch.float8_e4m3fn), 16, dtype, outer))


def _pairs(codes: Tensor) -> Tensor:
    """Codes of four bits, two in a byte: the low one is the first."""
    return (codes[..., ::2] | (codes[..., 1::2] << 4)).to(torch.uint8)


def _unpaired(packed: Tensor) -> Tensor:
    return torch.stack((packed & 15, packed >> 4), dim=-1).flatten(-2)


def float8_type(fmt: Format) -> torch.dtype:
    """torch's type of the elements of a format with 8-bit floats."""
    return torch.float8_e5m2 if "e5m2" in fmt.name else torch.float8_e4m3fn


def mx_type(fmt: Format) -> torch.dtype:
    """torch's type of the elements of a Microscaling format."""
    return torch.float4_e2m1fn_x2 if fmt.element.bits == 4 else float8_type(fmt)


def check_tensor(network: ScoredNetwork, layer: ScoredLayer, held: Any) -> None:
    """Raise CodesignError unless a tensor of torchao holds the codes, scales and zero points that were scored."""
    q, name = network.weight(layer.name), layer.name
    codes = held.qdata
    if codes.dtype == torch.uint8:
        codes = _unpaired(codes)
    elif codes.is_floating_point():
        codes = codes.view(torch.uint8)
    wanted, scales, zero_points = (q.codes, q.scales, None) if q.zero_points is None else _signed(q)
    assert scales is not None
    if layer.kind == "conv":
        wanted = network.in_place(name, wanted)
        kept = held.scale.flatten(2).transpose(1, 2)
    else:
        kept = held.scale
    check_equal(name, "codes", codes, wanted)
    check_equal(name, "scales", kept.float(), scales)
    if zero_points is not None:
        kept = held.zero_point.flatten(2).transpose(1, 2) if layer.kind == "conv" else held.zero_point
        check_equal(name, "zero points", kept, zero_points)
    if q.tensor_scale is not None:
        check_equal(name, "outer scale", held.per_tensor_scale, q.tensor_scale.reshape(()))
    check_equal(name, "weights", held.dequantize(), network.values(name))


def _tensor(x: Any) -> Tensor:
    assert isinstance(x, Tensor)
    return x
