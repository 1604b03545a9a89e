"""Packing of codes into bytes: a little-endian bit stream, so the low nibble holds the first of two 4-bit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codesign.formats.elements import Element, IntElement

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from codesign.lazy import torch

_CHUNK = 1 << 20  # codes packed at a time; a multiple of 8, so that every chunk ends on a byte boundary


def pack_codes(codes: Tensor, element: Element) -> Tensor:
    """Pack `codes` in row-major order into bytes (uint8, 1-D); the last byte is padded with zeros."""
    flat = codes.reshape(-1)
    if element.bits in (8, 16, 32) and flat.element_size() * 8 == element.bits:
        return flat.contiguous().view(torch.uint8)
    if flat.numel() == 0:
        return torch.empty(0, dtype=torch.uint8, device=codes.device)
    return torch.cat([_pack(chunk.to(torch.int32), element.bits) for chunk in torch.split(flat, _CHUNK)])


def unpack_codes(data: Tensor, element: Element, shape: tuple[int, ...]) -> Tensor:
    """Inverse of `pack_codes`: codes of `shape` in the element's `code_dtype`.

    Raises ValueError if the number of bytes does not match.
    """
    count = torch.Size(shape).numel()
    size = -(-count * element.bits // 8)
    if data.numel() != size:
        raise ValueError(f"{count} codes of {element.bits} bits take {size} bytes, not {data.numel()}")
    dtype = element.code_dtype
    if element.bits in (8, 16, 32) and dtype.itemsize * 8 == element.bits:
        return data.contiguous().view(dtype).view(shape)
    chunk = _CHUNK * element.bits // 8
    parts = [_unpack(part, element.bits) for part in torch.split(data, chunk)]
    codes = torch.cat(parts)[:count] if parts else torch.empty(0, dtype=torch.int32, device=data.device)
    if isinstance(element, IntElement) and element.signed:
        codes = codes - ((codes >> (element.bits - 1)) << element.bits)
    return codes.to(dtype).view(shape)


def _pack(codes: Tensor, bits: int) -> Tensor:
    stream = ((codes[:, None] >> _places(bits, codes)) & 1).to(torch.uint8).reshape(-1)
    stream = torch.nn.functional.pad(stream, (0, -stream.numel() % 8)).view(-1, 8)
    return (stream << _places(8, codes).to(torch.uint8)).sum(1, dtype=torch.uint8)


def _unpack(data: Tensor, bits: int) -> Tensor:
    stream = ((data[:, None] >> _places(8, data).to(torch.uint8)) & 1).reshape(-1)
    stream = stream[: stream.numel() // bits * bits].view(-1, bits)
    return (stream.to(torch.int32) << _places(bits, data)).sum(1, dtype=torch.int32)


def _places(bits: int, like: Tensor) -> Tensor:
    return torch.arange(bits, dtype=torch.int32, device=like.device)
