"""A design without a foreign library: its assignment and scales (``assignment``), and every code (``json``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from codesign.errors import CodesignError
from codesign.export.origin import Origin
from codesign.export.proof import Proof, check_equal
from codesign.export.scored import Operand, ScoredLayer, ScoredNetwork, hashes_of
from codesign.files import write_atomic
from codesign.formats import read_assignment
from codesign.formats.format import Quantized
from codesign.models.streaming import weights_of

ASSIGNMENT, SCALES = "assignment.json", "scales.safetensors"
RECORD, CODES, FLOATS = "layers.json", "codes.safetensors", "float.safetensors"
_PARTS = ("scales", "zero_points", "tensor_scale")


def write_assignment(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    """``assignment.json``, which ``codesign evaluate`` and ``cost`` read, and ``scales.safetensors``.

    The names of the scales are ``LAYER.weight.scales`` (and ``zero_points``, ``tensor_scale``) and, of activations with
    a calibrated scale, ``LAYER.OPERAND.scale`` (and ``zero_point``, ``tensor_scale``).
    """
    write_atomic(folder / ASSIGNMENT, json.dumps(network.assignment.to_dict(), indent=1) + "\n")
    scales: dict[str, Tensor] = {}
    for name, layer in network.layers.items():
        if layer.formats.weight is not None:
            scales |= {f"{name}.weight.{part}": x for part, x in _parts(network.weight(name)).items()}
        for operand in layer.operands.values():
            scales |= {f"{name}.{operand.name}.{part}": torch.tensor(x) for part, x in _static(operand).items()}
    save_file(_own(scales), folder / SCALES)
    if read_assignment(folder / ASSIGNMENT) != network.assignment:
        raise CodesignError(f"{ASSIGNMENT}: not the assignment that was written")
    for name, x in load_file(folder / SCALES).items():
        check_equal(name, "scales", x, scales[name])
    return Proof("safetensors", len(network.weighted), packages=("safetensors",))


def write_json(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    """``layers.json``, a record of every layer for anybody's compiler; its codes, packed, in ``codes.safetensors``.

    Codes are packed row by row, little-endian, as `codesign.formats.Format.pack` says; parameters that no layer
    quantizes are in ``float.safetensors``.
    """
    tensors: dict[str, Tensor] = {}
    records = []
    for name, layer in network.layers.items():
        record = _record(layer)
        if layer.formats.weight is not None:
            quantized = network.weight(name)
            tensors[f"{name}.codes"] = quantized.format.pack(quantized.codes)
            tensors |= {f"{name}.{part}": x for part, x in _parts(quantized).items()}
            record["weight"] |= {
                "shape": list(quantized.shape),
                "parameter": layer.parameter,
                "parameter_shape": list(layer.product.stationary.shape),
                "sha256": hashes_of(quantized),
            }
            if layer.parameter is not None:
                record["weight"] |= _place(layer.product.stationary)
        records.append(record)
    save_file(_own(tensors), folder / CODES)
    quantized_names = {layer.parameter for layer in network.layers.values()}
    rest = {
        name: x
        for name, x in weights_of(network.module)  # of a network that is read block by block, too
        if name not in quantized_names and isinstance(x, Tensor)
    }
    save_file(_own(rest), folder / FLOATS)
    content = {"schema_version": 1, "network": origin.spec.task, "layers": records}
    write_atomic(folder / RECORD, json.dumps(content, indent=1) + "\n")
    with safe_open(folder / CODES, framework="pt") as opened:
        for name in network.weighted:
            quantized = network.weight(name)
            codes = quantized.format.unpack(opened.get_tensor(f"{name}.codes"), tuple(quantized.shape))
            check_equal(name, "codes", codes, quantized.codes)
            for part, x in _parts(quantized).items():
                check_equal(name, part, opened.get_tensor(f"{name}.{part}"), x)
    return Proof("safetensors", len(network.weighted), packages=("safetensors",))


def _record(layer: ScoredLayer) -> dict[str, Any]:
    """The facts of a layer."""
    found: dict[str, Any] = {"name": layer.name, "kind": layer.kind}
    if layer.formats.weight is not None:
        fmt = layer.weight_format
        found["weight"] = {"format": fmt.name, "method": layer.formats.method}
        if layer.kind == "conv":
            found["groups"] = layer.product.groups
    found["activations"] = {
        operand.name: {"format": operand.format.name, "axes": list(operand.axes), **_static(operand)}
        for operand in layer.operands.values()
    }
    return found


def _place(weight: Tensor) -> dict[str, Any]:
    """Where a weight lies in its parameter, in elements: several layers may be parts of one, as q, k and v are."""
    whole = weight if weight._base is None else weight._base
    return {
        "parameter_strides": list(weight.stride()),
        "parameter_offset": weight.storage_offset() - whole.storage_offset(),
    }


def _static(operand: Operand) -> dict[str, float]:
    """What was calibrated of an activation."""
    parts = {"scale": operand.scale, "zero_point": operand.zero_point, "tensor_scale": operand.tensor_scale}
    return {name: x for name, x in parts.items() if x is not None}


def _parts(quantized: Quantized) -> dict[str, Tensor]:
    return {name: x for name in _PARTS if (x := getattr(quantized, name)) is not None}


def _own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous tensors that share no memory, as safetensors wants them."""
    return {name: x.detach().clone().contiguous() for name, x in tensors.items()}
