"""Other weights in the place of a task's own, and the files that hold them."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.models.streaming import reads_blocks
from codesign.models.task import Task


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name; raises InputError if it is missing, damaged or empty."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a safetensors file ({' '.join(str(error).split())[:100]})") from None
    if not found:
        raise InputError(f"{path}: holds no weights")
    return found


def with_weights(task: Task, weights: Mapping[str, Tensor]) -> Task:
    """A task with a copy of the network, in which `weights` replace the parameters of these names.

    Raises InputError on a name that the network has not, another shape, NaN or infinity, or a streamed network.
    """
    if reads_blocks(task.module):
        raise InputError(
            f"{task.name}: its weights are read block by block and cannot be replaced; with more memory (memory_gib) "
            "they are loaded whole"
        )
    module = copy.deepcopy(task.module)
    own = named(module)
    for name, weight in weights.items():
        if name not in own:
            raise InputError(f"{task.name}: the network has no weight '{name}'{nearest(name, own)}")
        if weight.shape != own[name].shape:
            shapes = f"{list(weight.shape)}, expected {list(own[name].shape)}"
            raise InputError(f"{task.name}: weight '{name}' has shape {shapes}")
        if not bool(torch.isfinite(weight).all()):
            raise InputError(f"{task.name}: weight '{name}' holds NaN or infinity")
        with torch.no_grad():
            own[name].copy_(weight)
    found = copy.copy(task)
    found.module = module
    return found


def named(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of a module by name; a tied one by each of its names."""
    return dict(module.named_parameters(remove_duplicate=False))


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Hash of names and values."""
    h = hashlib.sha256()
    for name, weight in sorted(weights.items()):
        h.update(f"{name}|{list(weight.shape)}|{weight.dtype}|".encode())
        h.update(weight.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()[:24]
