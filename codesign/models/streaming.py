"""Networks larger than memory: a block's weights are read from safetensors when it runs, and given up after it.

A parameter keeps its identity, shape and place in the module; only its storage is empty while its block does not run
(as in fully sharded training).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors import safe_open
from torch import Tensor, nn

from codesign.errors import InputError, nearest


def streamed(module: nn.Module, folder: Path) -> nn.Module:
    """A module made `weightless`, whose float32 weights come from the safetensors of `folder` as they are needed.

    Raises InputError if a parameter is in none of the files.
    """
    places = _places(folder)
    with torch.no_grad():
        parameters = _emptied(module)
        _fill_buffers(module, places)
    files = {id(p): _file_of(name, p, module, places) for name, p in parameters.items()}
    module._codesign_files = files  # type: ignore[assignment]  # read by `weights_of`
    _Stream(module, files)
    return module


class _Stream:
    """Hooks that read and give up the weights of a block: an item of the outermost lists, or a module beside them."""

    def __init__(self, module: nn.Module, files: dict[int, tuple[Path, str]]) -> None:
        self._files = files
        self._users: Counter[int] = Counter()  # blocks that run now and use a parameter, by its id
        # a part of a block may run outside of it, too
        parts = [each for each in module.modules() if any(True for _ in each.parameters(recurse=False))]
        for block in dict.fromkeys((*_blocks(module), *parts)):
            own = list(block.parameters())
            block.register_forward_pre_hook(self._enter(own))
            block.register_forward_hook(self._leave(own), always_call=True)

    def _enter(self, own: list[nn.Parameter]) -> Any:
        def enter(*_: object) -> None:
            for parameter in own:
                self._users[id(parameter)] += 1
                if self._users[id(parameter)] == 1:
                    read_into(parameter, *self._files[id(parameter)])

        return enter

    def _leave(self, own: list[nn.Parameter]) -> Any:
        def leave(*_: object) -> None:
            for parameter in own:
                self._users[id(parameter)] -= 1
                if not self._users[id(parameter)]:
                    parameter.untyped_storage().resize_(0)

        return leave


def read_into(parameter: Tensor, file: Path, name: str) -> None:
    """Fill a parameter whose storage is empty, from a file's tensor."""
    parameter.untyped_storage().resize_(parameter.numel() * parameter.element_size())
    with safe_open(file, framework="pt") as opened, torch.no_grad():
        parameter.copy_(opened.get_tensor(name))


def weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The state of a module by name; of a streamed one, each weight is read for as long as it is looked at."""
    stream: dict[int, tuple[Path, str]] = getattr(module, "_codesign_files", {})
    for name, tensor in module.state_dict(keep_vars=True).items():
        place = stream.get(id(tensor))
        if place is None:
            yield name, tensor
            continue
        file, theirs = place
        with safe_open(file, framework="pt") as opened:
            yield name, opened.get_tensor(theirs).to(tensor.dtype)


def _emptied(module: nn.Module) -> dict[str, nn.Parameter]:
    """Give every parameter a float32 storage of no bytes, and return them by name; those that were tied stay tied."""
    made: dict[int, nn.Parameter] = {}
    names: dict[str, nn.Parameter] = {}
    for prefix, inner in module.named_modules():
        for key, old in list(inner._parameters.items()):
            if old is None:
                continue
            if id(old) not in made:
                new = nn.Parameter(torch.empty(old.shape, dtype=torch.float32, device="cpu"), requires_grad=False)
                new.untyped_storage().resize_(0)
                made[id(old)] = new
                names[f"{prefix}.{key}".removeprefix(".")] = new
            inner._parameters[key] = made[id(old)]
    return names


@contextmanager
def weightless() -> Iterator[None]:
    """Context in which new modules have parameters on the meta device, and the buffers that they compute."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None and not parameter.is_meta:  # one on meta may be tied
            module._parameters[name] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)

    with patch.object(nn.Module, "register_parameter", on_meta):
        yield


def _fill_buffers(module: nn.Module, places: dict[str, Path]) -> None:
    """Buffers that the files hold are those of the files."""
    for prefix, inner in module.named_modules():
        for key, old in list(inner._buffers.items()):
            name = f"{prefix}.{key}".removeprefix(".")
            if old is not None and name in places:
                with safe_open(places[name], framework="pt") as opened:
                    inner._buffers[key] = opened.get_tensor(name).to(old.dtype)


def _places(folder: Path) -> dict[str, Path]:
    """Name of every tensor -> its file."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            found |= dict.fromkeys(opened.keys(), file)
    return found


def _file_of(name: str, parameter: nn.Parameter, module: nn.Module, places: dict[str, Path]) -> tuple[Path, str]:
    prefix = str(getattr(module, "base_model_prefix", ""))
    every = [key for key, each in module.named_parameters(remove_duplicate=False) if each is parameter] or [name]
    for key in every:
        for candidate in (key, key.removeprefix(f"{prefix}."), f"{prefix}.{key}"):
            if candidate in places:
                return places[candidate], candidate
    raise InputError(
        f"'{next(iter(places.values())).parent}': a network of this size is read block by block, and its files hold no "
        f"'{name}'{nearest(name, places)}; with more memory (memory_gib) it can be loaded whole"
    )


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The items of the outermost module lists, and outside them every module with parameters of its own."""
    if any(True for _ in module.parameters(recurse=False)):
        yield module
        return
    for child in module.children():
        if isinstance(child, (nn.ModuleList, nn.Sequential)):
            yield from child
        else:
            yield from _blocks(child)
