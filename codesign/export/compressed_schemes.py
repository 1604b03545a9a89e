"""Formats as compressed-tensors writes them: quantization arguments, and the tensors of a packed layer.

Sources: compressed_tensors 0.20.1 ``quantization/quant_args.py``, ``quant_scheme.py`` (its presets) and
``compressors/*/base.py``; vllm 0.33.0 ``compressed_tensors/compressed_tensors.py``, ``_get_scheme_from_parts``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from codesign.errors import CodesignError
from codesign.export.proof import check_equal
from codesign.export.scored import Operand, ScoredLayer
from codesign.formats import Format
from codesign.formats.elements import IntElement
from codesign.formats.format import Quantized

PACKED, INTEGERS, FLOATS = "pack-quantized", "int-quantized", "float-quantized"
NVFP4, MXFP4, MXFP8 = "nvfp4-pack-quantized", "mxfp4-pack-quantized", "mxfp8-quantized"
MIXED = "mixed-precision"
BF16_FORMATS = (NVFP4, MXFP4, MXFP8)  # which the library decompresses to bfloat16, whatever the network's dtype
_E8M0 = {"scale_dtype": "torch.uint8", "zp_dtype": "torch.uint8"}
_E4M3 = {"scale_dtype": "torch.float8_e4m3fn", "zp_dtype": "torch.float8_e4m3fn"}

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Scheme:
    """How the library holds a layer."""

    format: str  # its compression format
    weights: Arguments
    inputs: Arguments | None  # None if it leaves them as they are

    def group(self, targets: list[str]) -> dict[str, Any]:
        """The config group of some layers."""
        inputs = None if self.inputs is None else dict(self.inputs)
        return {
            "targets": targets,
            "weights": dict(self.weights),
            "input_activations": inputs,
            "output_activations": None,
            "format": self.format,
        }


def scheme_of(layer: ScoredLayer) -> Scheme | None:
    """How the library holds a layer; None for an attention, or a weight that is cast and so stays a float."""
    if layer.formats.weight is None or layer.weight_format.is_cast:
        return None
    weight, inputs = layer.weight_format, layer.operands["input"].format
    return Scheme(_format(weight, inputs), _arguments(weight), None if inputs.is_cast else _inputs(inputs))


def _format(weight: Format, inputs: Format) -> str:
    if isinstance(weight.element, IntElement):
        # the kernels that vLLM has for integers of a whole channel read them unpacked
        plain = weight.element_bits == 8 and not weight.is_block
        return INTEGERS if plain and not inputs.is_cast else PACKED
    if weight.scaling is not None and weight.scaling.tensor_scale is not None:
        return NVFP4
    if weight.is_block:
        return MXFP4 if weight.element_bits == 4 else MXFP8
    return FLOATS


def _arguments(fmt: Format) -> dict[str, Any]:
    """The arguments of a format, as that of a weight."""
    scaling = fmt.scaling
    assert scaling is not None
    found: dict[str, Any] = {
        "num_bits": fmt.element_bits,
        "type": "int" if isinstance(fmt.element, IntElement) else "float",
        "symmetric": scaling.symmetric,
        "strategy": "group" if fmt.is_block else "channel",
        "group_size": scaling.block,
        "dynamic": False,
    }
    if found["type"] == "float" and fmt.is_block:
        found |= {"strategy": "tensor_group"} | _E4M3 if scaling.tensor_scale is not None else _E8M0
    return found


def _inputs(fmt: Format) -> dict[str, Any]:
    """The arguments of a format, as that of an input."""
    found = _arguments(fmt)
    if fmt.per_token:
        return found | {"strategy": "token", "dynamic": True}
    if not fmt.is_block:
        return found | {"strategy": "tensor"}
    return found | {"dynamic": "local" if found["strategy"] == "tensor_group" else True}


def packed(layer: ScoredLayer, weight: Quantized, scheme: Scheme) -> dict[str, Tensor]:
    """The tensors of a layer by their names in its module: codes, scales and zero points; its bias is not among them.

    Float16 scales stay float16, and float32 ones float32: the library casts them to the network's dtype.
    """
    fmt = weight.format
    assert weight.scales is not None
    scales = weight.scales
    found: dict[str, Tensor]
    if scheme.format == PACKED:
        found = _packed_integers(weight)
    elif scheme.format == INTEGERS:
        found = {"weight": weight.codes.to(torch.int8), "weight_scale": scales}
    elif scheme.format == FLOATS:
        found = {"weight": _fp8(weight.codes), "weight_scale": scales}
    elif scheme.format == MXFP8:
        found = {"weight": _fp8(weight.codes), "weight_scale": weight.scale_codes().to(torch.uint8)}
    else:
        low, high = weight.codes.to(torch.uint8)[:, ::2], weight.codes.to(torch.uint8)[:, 1::2]
        found = {"weight_packed": low | high << 4}
        if scheme.format == MXFP4:
            found["weight_scale"] = weight.scale_codes().to(torch.uint8)
        else:
            assert weight.tensor_scale is not None
            found["weight_scale"] = scales.to(torch.float8_e4m3fn)
            found["weight_global_scale"] = reciprocal(weight.tensor_scale)
    if fmt.is_block and found["weight_scale"].dtype == torch.float32:
        found["weight_scale"] = scales.to(torch.float16)  # these are float16 values
    return found | _input_tensors(layer.operands["input"])


def _packed_integers(weight: Quantized) -> dict[str, Tensor]:
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    assert weight.scales is not None
    bits, shift = weight.format.element_bits, _shift(weight.format)
    codes = (weight.codes.to(torch.int16) - shift).to(torch.int8)
    found = {
        "weight_packed": pack_to_int32(codes, bits),
        "weight_scale": weight.scales,
        "weight_shape": torch.tensor(weight.codes.shape, dtype=torch.int64),
    }
    if weight.zero_points is not None:
        zero_points = (weight.zero_points.to(torch.int16) - shift).to(torch.int8)
        found["weight_zero_point"] = pack_to_int32(zero_points, bits, packed_dim=0)
    return found


def _input_tensors(operand: Operand) -> dict[str, Tensor]:
    """What was calibrated of an input."""
    found: dict[str, Tensor] = {}
    if operand.scale is not None:
        found["input_scale"] = torch.tensor([operand.scale], dtype=torch.float32)
    if operand.zero_point is not None:
        found["input_zero_point"] = torch.tensor([operand.zero_point - _shift(operand.format)], dtype=torch.int8)
    if operand.tensor_scale is not None:
        found["input_global_scale"] = reciprocal(torch.tensor(operand.tensor_scale, dtype=torch.float32))
    return found


def check_packed(layer: str, scheme: Scheme, weight: Quantized, held: Mapping[str, Tensor]) -> None:
    """Raise CodesignError unless the tensors that the library holds for a layer are the codes and scales scored.

    The library's own functions unpack them.
    """
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32

    shape, fmt = weight.codes.shape, weight.format
    scales, shift = held["weight_scale"], _shift(fmt)
    if scheme.format == PACKED:
        codes = unpack_from_int32(held["weight_packed"], fmt.element_bits, shape).to(torch.int16) + shift
        if weight.zero_points is not None:
            found = unpack_from_int32(
                held["weight_zero_point"], fmt.element_bits, weight.zero_points.shape, packed_dim=0
            )
            check_equal(layer, "zero points", found.to(torch.int16) + shift, weight.zero_points)
        check_equal(layer, "codes", codes, weight.codes)
    elif scheme.format == INTEGERS:
        check_equal(layer, "codes", held["weight"], weight.codes)
    elif scheme.format in (FLOATS, MXFP8):
        check_equal(layer, "codes", held["weight"].view(torch.uint8), weight.codes)
    else:
        values = unpack_fp4_from_uint8(held["weight_packed"], *shape, dtype=torch.float32)
        check_equal(layer, "elements", values, fmt.element.decode(weight.codes))
    assert weight.scales is not None
    if scales.dtype == torch.uint8:
        check_equal(layer, "scales", scales, weight.scale_codes())
    else:
        check_equal(layer, "scales", scales.float(), weight.scales)
    if weight.tensor_scale is not None:
        check_equal(layer, "outer scale", held["weight_global_scale"], reciprocal(weight.tensor_scale))


def check_inputs(layer: str, operand: Operand, held: Mapping[str, Tensor]) -> None:
    """Raise CodesignError unless the library holds the scales that were calibrated for an input."""
    wanted = _input_tensors(operand)
    for name, x in wanted.items():
        if name not in held:
            raise CodesignError(f"layer '{layer}': the library holds no {name}")
        check_equal(layer, name, held[name], x)


def reciprocal(scale: Tensor) -> Tensor:
    """The outer scale as the library holds it, by which numbers are multiplied: float32 [1]."""
    return (1.0 / scale.double()).float().reshape(1)


def _shift(fmt: Format) -> int:
    """What is taken from the codes of a format with zero point, which are unsigned here and signed in the library."""
    signed = isinstance(fmt.element, IntElement) and fmt.element.min_value < 0
    return 0 if signed or not isinstance(fmt.element, IntElement) else 1 << (fmt.element_bits - 1)


def _fp8(codes: Tensor) -> Tensor:
    return codes.to(torch.uint8).contiguous().view(torch.float8_e4m3fn)
