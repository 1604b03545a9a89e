"""Diffusers directories with the weights that were scored, as floats: diffusers holds no mixed design otherwise.

Every pipeline opens such a directory, on any machine, and shows what the weights of a design do to its images. Inputs
of layers stay floats. Codes and scales lie beside, in ``quantized/`` (see `codesign.export.plain.write_json`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.export.directories import copy_files, copy_parts, write_shards
from codesign.export.origin import Origin
from codesign.export.plain import write_json
from codesign.export.proof import Proof, check_equal, check_sqnr, least_sqnr_db
from codesign.export.scored import ScoredNetwork
from codesign.formats import Assignment, LayerFormats
from codesign.models.directories.diffusers_files import INDEX, pipeline, quiet
from codesign.models.directories.weights import variant_of
from codesign.models.streaming import present

QUANTIZED = "quantized"  # folder of the codes
STEM = "diffusion_pytorch_model"
_FLOAT = "fp32"
_SAME_DB = 90.0  # least SQNR against the network with the same weights: only the order of sums may differ


def write(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    """Write the directory of a network again, the other parts of its pipeline copied.

    Raises InputError if the network is no network of a diffusers directory.
    """
    source = origin.directory
    cls: Any = type(network.module)
    if origin.library != "diffusers" or source is None or not str(cls.__module__).startswith("diffusers."):
        raise InputError(f"'{origin.spec.task}' gives no network of a diffusers directory, but a {cls.__name__}")
    part = ""
    if (source / INDEX).is_file():
        part = pipeline(source).denoiser().folder.name
        copy_parts(source, folder, part, left_out=(QUANTIZED,))  # the codes of the export that `source` may be
    else:
        copy_files(source, folder)
    place = folder / part
    variant = variant_of(source / part)
    write_shards(place, _tensors(network), STEM, variant=variant)
    (folder / QUANTIZED).mkdir()
    write_json(network, origin, folder / QUANTIZED)
    with quiet():
        module: nn.Module = cls.from_pretrained(
            place, local_files_only=True, use_safetensors=True, variant=variant, torch_dtype=torch.float32
        ).eval()
    for name, x in module.state_dict().items():
        check_equal(name, "weights", x, _weight(network, name))
    return _compared(network, module)


def _tensors(network: ScoredNetwork) -> Iterator[tuple[str, Tensor]]:
    return ((name, _weight(network, name)) for name in network.module.state_dict())


def _weight(network: ScoredNetwork, name: str) -> Tensor:
    """A parameter or buffer as it was scored."""
    layer = next((key for key, each in network.layers.items() if each.parameter == name), None)
    if layer is not None:
        return network.values(layer)
    found = network.module.state_dict(keep_vars=True)[name]
    with torch.no_grad(), present(network.module, found):
        copied: Tensor = found.detach().clone()
        return copied


def _compared(network: ScoredNetwork, module: nn.Module) -> Proof:
    alone = copy.copy(network)
    alone.assignment = Assignment.of({name: _weights_only(layer.formats) for name, layer in network.layers.items()})
    same, calls = least_sqnr_db(module, alone.calls()), network.calls()
    check_sqnr(same, _SAME_DB, "diffusers")
    quantized = sum(any(not each.format.is_cast for each in x.operands.values()) for x in network.layers.values())
    said = [f"weights only, as floats of the values that were scored; their codes are in {QUANTIZED}/"]
    if quantized:
        said.append(
            f"the inputs of {quantized} layers are not rounded; without rounding outputs agree to {same:.0f} dB"
        )
    least, loss = least_sqnr_db(module, calls), least_sqnr_db(network.module, calls)
    return Proof("diffusers", len(network.weighted), least, len(calls), loss, tuple(said), ("diffusers", "safetensors"))


def _weights_only(formats: LayerFormats) -> LayerFormats:
    """The formats of a layer with floats as inputs."""
    stationary = None if formats.key is None else _FLOAT
    return replace(formats, activation=_FLOAT, key=stationary, value=stationary)
