"""A network with tensors of torchao in place of its weights, and lowered to ExecuTorch where that is installed.

``model.safetensors``  every parameter and buffer, in torchao's layout for safetensors (`torchao.prototype.safetensors`)
``torchao.json``       the configuration of each module (`FqnToConfig`), as torchao writes it
``config.json``        of a network from a directory of transformers or diffusers: what ``from_pretrained`` needs; the
                       weights are ``diffusion_pytorch_model.safetensors`` there, if the directory is of diffusers
``model.pte``          the network for ExecuTorch with XNNPACK, if ``executorch`` can be imported

`load_torchao` reads it again. The program of ``torch.export`` is not written: the .pt2 of this torch holds pickles. Who
wants it calls ``torch.export.save(torch.export.export(load_torchao(folder, module), args), "model.pt2")``.
"""

from __future__ import annotations

import contextlib
import copy
import json
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.export import executorch, torchao_directory
from codesign.export.networks import deviations
from codesign.export.origin import Origin
from codesign.export.proof import Proof, check_sqnr, least_sqnr_db, sqnr_db
from codesign.export.scored import Call, ScoredLayer, ScoredNetwork
from codesign.export.torchao_config import config_of
from codesign.export.torchao_directory import library_of
from codesign.export.torchao_tensors import (
    PER_TOKEN,
    cast_layers,
    check_modules,
    check_tensor,
    quantized_layers,
    tensor_of,
)
from codesign.files import write_atomic
from codesign.formats import get_format
from codesign.models.directories.imports import calm
from codesign.models.streaming import reads_blocks
from codesign.targets import get_target

CONFIG, WEIGHTS = "torchao.json", "model.safetensors"
CALLS = 2
# Of a layer's output for the input that it had. Without integers or scales of activations both sides add up the same
# products. torchao finds codes with the reciprocal of a scale, so that a number next to the middle of two codes may
# become the other one, and saturates calibrated int8 at -128.
EXACT_DB, ROUNDED_DB = 90.0, 40.0
# A later layer rounds what differs by then: the outputs of the networks are apart by no more than rounding itself, the
# scored network from the float one, with room for two roundings of the same size (3 dB) and for chance.
ROOM_DB = 6.0


def write(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    """Write a network, open it again, and compare codes, scales and outputs."""
    check_modules(network)
    if reads_blocks(network.module):
        raise InputError(
            "torchao needs a network in memory as a whole, and this one is read block by block: raise its memory_gib"
        )
    with calm(), _no_warnings():
        from torchao.core.config import config_to_dict

        library = library_of(network, origin)
        save(network, folder / weights_file(library))
        content = {"schema_version": 1, "config": config_to_dict(config_of(network))}
        write_atomic(folder / CONFIG, json.dumps(content, indent=1) + "\n")
        module = load_torchao(folder, copy.deepcopy(network.module))
        packages: tuple[str, ...] = ("torchao", "safetensors", *((library,) if library else ()))
        count = 0
        for layer in quantized_layers(network):
            check_tensor(network, layer, module.get_submodule(layer.name).weight)
            count += 1
        calls = network.calls(CALLS)
        loss = least_sqnr_db(network.module, calls)
        least, found = compare_layers(network, module, calls)
        check_sqnr(found, min(EXACT_DB, loss - ROOM_DB), "torchao")
        told = list(deviations(get_target("torchao"), network)) + _saturation(network)
        if library is not None:
            told += _as_directory(network, library, origin, calls, folder, loss)
        told += executorch.write(network, module, calls, folder, loss - ROOM_DB)
    packages += executorch.packages(folder)
    return Proof("torchao", count, found, len(calls), loss, tuple(told), packages, least)


def _as_directory(
    network: ScoredNetwork, library: str, origin: Origin, calls: list[Call], folder: Path, loss: float
) -> list[str]:
    """Make a folder one that its library loads, and load it; what there is to say of it."""
    reason = torchao_directory.refusal(network)
    if reason is not None:
        return [f"no directory of {library}: {reason}"]
    torchao_directory.write_config(network, library, origin, folder)
    found = least_sqnr_db(torchao_directory.opened(network, folder), calls)
    check_sqnr(found, min(EXACT_DB, loss - ROOM_DB), f"{library} with torchao")
    return torchao_directory.hint(library)


def weights_file(library: str | None) -> str:
    """The name of the weights in a folder, which the libraries have rules for."""
    return torchao_directory.WEIGHTS.get(library or "", WEIGHTS)


def save(network: ScoredNetwork, file: Path) -> None:
    """Write all parameters and buffers, those of quantized layers as tensors of torchao."""
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

    state: dict[str, Tensor] = {name: x.detach() for name, x in network.module.state_dict().items()}
    for layer in quantized_layers(network):
        assert layer.parameter is not None
        state[layer.parameter] = tensor_of(network, layer)
    for layer in cast_layers(network):
        assert layer.parameter is not None
        state[layer.parameter] = network.values(layer.name).float()
    parts = {name: x for name, x in state.items() if "." in name}  # torchao splits names at a dot
    tensors, metadata = flatten_tensor_state_dict(parts)
    own = {
        name: x.detach().clone().contiguous()
        for name, x in (tensors | {n: state[n] for n in state.keys() - parts}).items()
    }
    save_file(own, file, {"format": "pt", **metadata})


def load_torchao(folder: Path | str, module: nn.Module) -> nn.Module:
    """The network of the folder ``out_dir/<task>`` of an export, in eval mode.

    Args:
        folder: holds ``model.safetensors``.
        module: the float architecture, as the study prepared it; its parameters and buffers are replaced.
    Raises:
        InputError: the folder is no export to torchao, or does not fit the module.
    """
    from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict

    files = [Path(folder) / name for name in dict.fromkeys((WEIGHTS, *torchao_directory.WEIGHTS.values()))]
    file = next((each for each in files if each.is_file()), files[0])
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no dictionary
        parts, rest = unflatten_tensor_state_dict(tensors, metadata)
        module.requires_grad_(False)
        module.load_state_dict(parts | rest, assign=True)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (SafetensorError, RuntimeError, ValueError, TypeError, AttributeError, KeyError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: does not fit the network ({reason})") from None
    return module.eval()


def compare_layers(network: ScoredNetwork, module: nn.Module, calls: list[Call]) -> tuple[float | None, float]:
    """The least SQNR of a layer of torchao for its input, and that of the network's outputs.

    Raises CodesignError if a layer computes something else than its formats say.
    """
    least: dict[str, float] = {}

    def compare(layer: ScoredLayer, owner: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        wanted = _product(owner, _rounded(layer, args[0]), network.values(layer.name))
        found = sqnr_db(output, wanted)
        exact = layer.operands["input"].format.is_cast
        check_sqnr(found, EXACT_DB if exact else ROUNDED_DB, f"layer '{layer.name}': torchao")
        least[layer.name] = min(found, least.get(layer.name, found))

    hooks = [
        module.get_submodule(layer.name).register_forward_hook(partial(compare, layer))
        for layer in quantized_layers(network)
    ]
    try:
        found = least_sqnr_db(module, calls)
    finally:
        for hook in hooks:
            hook.remove()
    return min(least.values(), default=None), found


def _rounded(layer: ScoredLayer, x: Tensor) -> Tensor:
    """An input as torchao rounds it."""
    operand = layer.operands["input"]
    fmt = get_format(PER_TOKEN[0]) if operand.format.name in PER_TOKEN else operand.format
    if operand.range is not None:
        return fmt.fake_quantize(x, amax=operand.range)
    return x if fmt.is_cast else fmt.fake_quantize(x, axis=-1)


def _product(owner: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """The output of a linear layer or convolution with another weight."""
    bias = owner._parameters.get("bias")
    if isinstance(owner, nn.Conv2d):
        found: Tensor = owner._conv_forward(x, weight, bias)
        return found
    return nn.functional.linear(x, weight, bias)


def _saturation(network: ScoredNetwork) -> list[str]:
    """What torchao does at the end of a calibrated range."""
    count = sum(layer.operands["input"].format.name == "int8" for layer in quantized_layers(network))
    if not count:
        return []
    return [f"torchao saturates the calibrated int8 activations of {count} layers at -128, scored at -127"]


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
    """torch.export warns of what torch itself deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
