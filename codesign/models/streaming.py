"""Networks larger than memory: a block's weights are read from safetensors when it runs, and given up after it.

A parameter keeps its identity, shape and place in the module; only its storage is empty while its block does not run
(as in fully sharded training).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from codesign.errors import InputError, nearest

Source = Callable[[], Tensor]  # reads a weight
_ATTRIBUTE = "_codesign_stream"


def streamed(module: nn.Module, folder: Path, sources: Mapping[str, Source] | None = None) -> nn.Module:
    """A module made `weightless`, whose float32 weights are read as they are needed.

    sources: what reads each parameter and buffer, by its name; by default the safetensors of `folder`.
    Raises InputError if a parameter has no source.
    """
    found = file_sources(folder) if sources is None else sources
    parameters = _emptied(module)
    _fill_buffers(module, found)
    stream = Stream()
    for names, parameter in parameters:
        name = next((each for each in names if each in found), None)
        if name is None:
            raise InputError(
                f"'{folder}': a network of this size is read block by block, and its files hold no '{names[0]}'"
                f"{nearest(names[0], found)}; with more memory (memory_gib) it can be loaded whole"
            )
        stream.add(parameter, found[name])
    blocks = dict(_blocks(module))
    parts = {each: list(each.parameters()) for each in module.modules() if each._parameters}
    for block, own in (parts | blocks).items():  # a part of a block may run outside of it, too
        stream.follow(block, own)
    setattr(module, _ATTRIBUTE, stream)
    return module


def file_sources(folder: Path) -> dict[str, Source]:
    """What reads each tensor in the safetensors of a folder, by its name there."""
    found: dict[str, Source] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dictionary
                found[name] = partial(_read, file, name)
    return found


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        found: Tensor = opened.get_tensor(name)
    return found


class Stream:
    """The weights of a module that are read for as long as somebody looks at them."""

    def __init__(self) -> None:
        self._sources: dict[int, Source] = {}  # by the storage of a parameter, which its views share
        self._parameters: dict[int, nn.Parameter] = {}
        self._users: Counter[int] = Counter()

    def add(self, parameter: nn.Parameter, source: Source) -> None:
        self._sources[_storage(parameter)] = source
        self._parameters[_storage(parameter)] = parameter

    def follow(self, block: nn.Module, own: Sequence[Tensor]) -> None:
        """Read some weights whenever a module runs."""
        block.register_forward_pre_hook(lambda *_: self.enter(own))
        block.register_forward_hook(lambda *_: self.leave(own), always_call=True)

    def enter(self, weights: Sequence[Tensor]) -> None:
        """Read weights that nobody looks at yet."""
        for each in map(_storage, weights):
            self._users[each] += 1
            if self._users[each] == 1:
                parameter = self._parameters[each]
                parameter.untyped_storage().resize_(parameter.numel() * parameter.element_size())
                with _disable_current_modes(), torch.no_grad():  # reading is no work of the network that is traced
                    parameter.copy_(self._sources[each]())

    def leave(self, weights: Sequence[Tensor]) -> None:
        """Give up weights that nobody else looks at."""
        for each in map(_storage, weights):
            self._users[each] -= 1
            if not self._users[each]:
                self._parameters[each].untyped_storage().resize_(0)

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor is one of these weights, or a view of one."""
        return not tensor.is_meta and _storage(tensor) in self._sources

    def pack(self, tensor: Tensor) -> Any:
        """What the backward pass keeps of a tensor: of a weight, how to find it again."""
        if not self.holds(tensor):
            return tensor.detach()
        return _storage(tensor), tensor.size(), tensor.stride(), tensor.storage_offset()

    def unpack(self, packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        storage, *view = packed
        return self.read(self._parameters[storage]).as_strided(*view)

    def read(self, weight: Tensor) -> Tensor:
        """A copy of a weight, which is not kept here."""
        return torch.empty(weight.shape, dtype=weight.dtype).copy_(self._sources[_storage(weight)]())


def _storage(tensor: Tensor) -> int:
    found: int = tensor.untyped_storage()._cdata
    return found


def is_streamed(module: nn.Module, tensor: Tensor) -> bool:
    """Whether a tensor is a weight, or a view of one, that a module holds only while its block runs."""
    stream: Stream | None = getattr(module, _ATTRIBUTE, None)
    return stream is not None and stream.holds(tensor)


def reads_blocks(module: nn.Module) -> bool:
    """Whether some weights of a module are read from disk while it runs."""
    return any(hasattr(inner, _ATTRIBUTE) for inner in module.modules())


@contextlib.contextmanager
def present(module: nn.Module, tensor: Tensor) -> Iterator[None]:
    """Within the context a weight, or what it is a view of, is there to be looked at."""
    stream: Stream | None = getattr(module, _ATTRIBUTE, None)
    if stream is None or not stream.holds(tensor):
        yield
        return
    stream.enter([tensor])
    try:
        yield
    finally:
        stream.leave([tensor])


def rereading(module: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Context of a forward pass whose backward pass reads streamed weights again, one at a time."""
    stream: Stream | None = getattr(module, _ATTRIBUTE, None)
    if stream is None:
        return contextlib.nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(stream.pack, stream.unpack)


def weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The state of a module by name; of a streamed one copies, one at a time."""
    stream: Stream | None = getattr(module, _ATTRIBUTE, None)
    for name, tensor in module.state_dict(keep_vars=True).items():
        held = stream is not None and isinstance(tensor, Tensor) and stream.holds(tensor)
        yield name, stream.read(tensor) if held and stream is not None else tensor


def _emptied(module: nn.Module) -> list[tuple[list[str], nn.Parameter]]:
    """Give every parameter a float32 storage of no bytes, and return each with its names; tied ones stay tied."""
    made: dict[int, tuple[list[str], nn.Parameter]] = {}
    for prefix, inner in module.named_modules():
        for key, old in list(inner._parameters.items()):
            if old is None:
                continue
            if id(old) not in made:
                new = nn.Parameter(torch.empty(old.shape, dtype=torch.float32, device="cpu"), requires_grad=False)
                new.untyped_storage().resize_(0)
                made[id(old)] = [], new
            names, new = made[id(old)]
            names.append(f"{prefix}.{key}".removeprefix("."))
            inner._parameters[key] = new
    return list(made.values())


@contextlib.contextmanager
def weightless() -> Iterator[None]:
    """Context in which new modules have parameters on the meta device, and the buffers that they compute."""
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        register(module, name, parameter)
        if parameter is not None and not parameter.is_meta:  # one on meta may be tied
            module._parameters[name] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)

    with patch.object(nn.Module, "register_parameter", on_meta):
        yield


def _fill_buffers(module: nn.Module, sources: Mapping[str, Source]) -> None:
    """Buffers are held whole; those that the files hold are those of the files."""
    for prefix, inner in module.named_modules():
        for key, buffer in inner._buffers.items():
            name = f"{prefix}.{key}".removeprefix(".")
            if buffer is not None and name in sources:
                buffer.copy_(sources[name]())


def _blocks(module: nn.Module) -> Iterator[tuple[nn.Module, list[nn.Parameter]]]:
    """What runs, with the weights that are read for it: items of the outermost module lists, and modules beside them
    with parameters of their own."""
    own = list(module.parameters(recurse=False))
    lists = (nn.ModuleList, nn.Sequential)
    if own and not any(isinstance(inner, lists) for inner in module.modules()):
        yield module, list(module.parameters())  # a part may be read without being called
        return
    if own:
        yield module, own
    for child in module.children():
        if isinstance(child, lists):
            yield from ((item, list(item.parameters())) for item in child)
        else:
            yield from _blocks(child)
