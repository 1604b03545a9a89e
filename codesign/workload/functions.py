"""The functions of torch that multiply matrices, under all their names, and their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Arguments = tuple[Any, ...]

# products that are neither a convolution, a linear layer nor one of the products of an attention
UNSUPPORTED = (
    *("mv", "addmv", "addbmm", "tensordot", "chain_matmul", "multi_dot", "inner", "bilinear"),
    *("conv_tbc", "convolution", "vecdot"),
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"),
)

SPARSE = ("smm", "sspaddmm", "hspmm")


def functions(*names: str) -> list[Callable[..., Any]]:
    """All torch functions and tensor methods with these names."""
    spaces = (torch, Tensor, torch.functional, torch.linalg, F)
    return [getattr(space, name) for space in spaces for name in names if hasattr(space, name)]


def overloads(name: str) -> list[Callable[..., Any]]:
    """The operators of this name in programs of torch.export."""
    packet = getattr(torch.ops.aten, name, None)
    return [] if packet is None else [getattr(packet, each) for each in packet.overloads()]


def exported(*functions: Callable[..., Any]) -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
    """(function, operator of the same arguments in programs of torch.export)."""
    return [
        (func, each)
        for func in functions
        if not func.__name__.startswith("__") and func not in (torch.einsum, F.multi_head_attention_forward)
        for each in overloads(func.__name__)
        if not each.__name__.endswith(("out", "dtype"))
    ]


def argument(rest: Arguments, kwargs: Mapping[str, Any], place: int, name: str) -> int:
    return int(rest[place] if len(rest) > place else kwargs.get(name, 1))


def leading(
    args: Arguments, kwargs: Mapping[str, Any], names: tuple[str, ...]
) -> tuple[Arguments, Arguments, Mapping[str, Any]]:
    """Split off the leading operands, given by position or name: (operands, remaining args, remaining kwargs)."""
    if len(args) >= len(names):
        return args[: len(names)], args[len(names) :], kwargs
    rest = dict(kwargs)
    return (*args, *(rest.pop(name) for name in names[len(args) :])), (), rest
