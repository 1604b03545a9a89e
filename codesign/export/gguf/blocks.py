"""Blocks of GGUF: codes and scales as ggml lays them out, and the scales that a file holds.

Sources: ggml/src/ggml-common.h (block_q4_0, block_q5_0, block_q8_0, block_mxfp4, block_nvfp4) and
ggml/src/ggml-quants.c (dequantize_row_*).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from codesign.formats import Format, get_format
from codesign.formats.format import Quantized

Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Pack: TypeAlias = Callable[[Bytes, Bytes], Bytes]  # of codes [blocks, elements] and the bytes of their scales


@dataclass(frozen=True)
class Kind:
    """A type of ggml's tensors."""

    name: str  # in gguf.GGMLQuantizationType
    block: int  # elements
    scale_bytes: int  # of each scale in a block
    scales: int = 1  # of a block
    pack: Pack | None = None  # None: a cast

    def row_bytes(self, elements: int) -> int:
        """Bytes of a row of a matrix."""
        if self.pack is None:
            return elements * self.scale_bytes
        return elements // self.block * _BLOCK_BYTES[self.name]


def _halves(codes: Bytes) -> Bytes:
    """Four-bit codes in bytes: the first half of a block in the low bits, the second half in the high ones."""
    half = codes.shape[-1] // 2
    return codes[..., :half] | (codes[..., half:] << np.uint8(4))


def _q4_0(codes: Bytes, scales: Bytes) -> Bytes:
    return np.concatenate([scales, _halves((codes + np.uint8(8)) & np.uint8(0x0F))], axis=1)


def _q5_0(codes: Bytes, scales: Bytes) -> Bytes:
    unsigned = (codes + np.uint8(16)) & np.uint8(0x1F)
    fifth = np.packbits(unsigned >> np.uint8(4), axis=1, bitorder="little")
    return np.concatenate([scales, fifth, _halves(unsigned & np.uint8(0x0F))], axis=1)


def _q8_0(codes: Bytes, scales: Bytes) -> Bytes:
    return np.concatenate([scales, codes], axis=1)


def _mxfp4(codes: Bytes, scales: Bytes) -> Bytes:
    return np.concatenate([scales, _halves(codes)], axis=1)


def _nvfp4(codes: Bytes, scales: Bytes) -> Bytes:
    """Four blocks of 16 in one of 64; their scales have no sign bit."""
    return np.concatenate([scales, _halves(codes.reshape(-1, 4, 16)).reshape(-1, 32)], axis=1)


_BLOCK_BYTES = {"Q4_0": 18, "Q5_0": 22, "Q8_0": 34, "MXFP4": 17, "NVFP4": 36}
F32, F16, BF16 = Kind("F32", 1, 4), Kind("F16", 1, 2), Kind("BF16", 1, 2)
_Q4_0, _Q5_0, _Q8_0 = Kind("Q4_0", 32, 2, 1, _q4_0), Kind("Q5_0", 32, 2, 1, _q5_0), Kind("Q8_0", 32, 2, 1, _q8_0)
KINDS: Mapping[str, Kind] = MappingProxyType(
    {"fp32": F32, "fp16": F16, "bf16": BF16}
    | {f"int4_g{group}": _Q4_0 for group in (32, 64, 128)}
    | {f"int5_g{group}": _Q5_0 for group in (32, 64, 128)}
    | {f"int8_g{group}": _Q8_0 for group in (32, 64, 128)}
    | {"mxfp4": Kind("MXFP4", 32, 1, 1, _mxfp4), "nvfp4": Kind("NVFP4", 64, 1, 4, _nvfp4)}
)
"""Type of the tensor that holds a format exactly, by the format's name with its usual rule."""


def kind_of(fmt: Format) -> Kind:
    """The type of a weight's tensor; raises KeyError if ggml has none that holds its numbers exactly."""
    return KINDS[fmt.with_rule(fmt.rules[0]).name if fmt.rules else fmt.name]


def packed(weight: Quantized) -> Bytes:
    """The rows of a matrix [N, K] as ggml stores them, uint8 [N, bytes of a row]. The outer scale is no part of it."""
    kind = kind_of(weight.format)
    if kind.pack is None or weight.format.scaling is None:
        return cast(weight.dequantize(), kind)
    rows, columns = weight.codes.shape
    codes = weight.codes.cpu().contiguous().view(torch.uint8).numpy()
    made = kind.pack(codes.reshape(-1, kind.block), _scale_bytes(weight, kind))
    return made.reshape(rows, kind.row_bytes(columns))


def cast(x: Tensor, kind: Kind) -> Bytes:
    """Numbers as bytes of a type without scales, uint8 [..., bytes of a row]."""
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    made: Bytes = x.detach().cpu().to(types[kind.name]).contiguous().view(torch.uint8).numpy()
    return made


def narrowest(x: Tensor) -> Kind:
    """The smallest type without scales that holds numbers exactly."""
    for name, kind in (("fp16", F16), ("bf16", BF16)):
        if torch.equal(get_format(name).fake_quantize(x.float()), x.float()):
            return kind
    return F32


def scales_of(data: Bytes, kind: Kind) -> Bytes:
    """The bytes of the scales in rows of a file, uint8 [N, blocks * scales, bytes of a scale]."""
    assert kind.pack is not None
    blocks = data.reshape(data.shape[0], -1, _BLOCK_BYTES[kind.name])
    return blocks[..., : kind.scales * kind.scale_bytes].reshape(data.shape[0], -1, kind.scale_bytes)


def wanted_scales(weight: Quantized) -> Tensor:
    """The scale of each of the file's blocks, float32 [N, blocks]: that of a larger group is repeated."""
    assert weight.scales is not None
    assert weight.format.scaling is not None
    kind = kind_of(weight.format)
    group = weight.format.scaling.block or 1
    return weight.scales.repeat_interleave(max(group * kind.scales // kind.block, 1), dim=1)


def _scale_bytes(weight: Quantized, kind: Kind) -> Bytes:
    """uint8 [blocks, scales of one * bytes of a scale]."""
    assert weight.format.scaling is not None
    bits = weight.format.scaling.scale.encode(wanted_scales(weight))
    data = bits.cpu().contiguous().view(torch.uint8).numpy()
    return data.reshape(-1, kind.scales * kind.scale_bytes)
