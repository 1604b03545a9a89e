"""Checkpoints in compressed-tensors: of transformers' directories as directories again, of other networks as a module.

A transformers directory comes back with its tokenizer and a ``quantization_config``, and transformers opens it, and so
does vLLM. Of another network come ``model.safetensors`` and ``config.json`` with the quantization config alone, which
`load_compressed` puts into the same network made anew.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from codesign.errors import CodesignError, InputError
from codesign.export.compressed_deviations import deviations_of, least_db
from codesign.export.compressed_schemes import (
    BF16_FORMATS,
    MIXED,
    Scheme,
    check_inputs,
    check_packed,
    packed,
    scheme_of,
)
from codesign.export.directories import copy_files, is_untied, write_shards
from codesign.export.layerwise import Seen, check_layers, ends, seen
from codesign.export.origin import Origin
from codesign.export.proof import Proof, check_equal, check_sqnr, least_sqnr_db
from codesign.export.scored import Call, ScoredNetwork
from codesign.files import write_atomic
from codesign.jsonio import read_json
from codesign.models.directories.imports import quiet_transformers
from codesign.models.streaming import present

CONFIG = "config.json"
NAME = "compressed-tensors"
EXACT_DB = 40.0  # least SQNR that is asked of a network
# Where inputs are quantized, a sum in another order moves some input over a step, and the network carries that on. Two
# networks that round inputs independently are 3 dB below what rounding costs one of them; 3 dB more are for chance.
LOSS_DB = 6.0


@dataclass
class _Checkpoint:
    """A network as the library writes it."""

    network: ScoredNetwork
    dtype: torch.dtype  # of the files that the network comes from
    schemes: dict[str, Scheme] = field(default_factory=dict)  # by layer
    paths: dict[str, str] = field(default_factory=dict)  # of the layers' modules
    exact: bool = True  # whether `dtype` holds every float and scale that was written
    untied: bool = False  # whether a weight was written that the network shares with another module

    def __post_init__(self) -> None:
        for name, layer in self.network.layers.items():
            scheme = scheme_of(layer)
            if scheme is not None:
                self.paths[name] = _path(self.network, name)
                self.schemes[name] = scheme
        if not self.schemes:
            raise InputError(f"{NAME}: no layer has a quantized weight; there is nothing to write")

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """What is written, by the names that it has in the compressed network."""
        network, module = self.network, self.network.module
        by_parameter = {layer.parameter: name for name, layer in network.layers.items() if layer.parameter}
        seen: set[int] = set()
        for key, parameter in module.state_dict(keep_vars=True).items():
            name, tied = by_parameter.get(key), id(parameter) in seen
            seen.add(id(parameter))
            if name in self.schemes:
                self.untied |= tied
                layer = network.layers[name]
                for part, x in packed(layer, network.weight(name), self.schemes[name]).items():
                    if part in ("weight_scale", "input_scale") and x.is_floating_point() and x.itemsize > 1:
                        self._held(x.float())
                    yield f"{self.paths[name]}.{part}", x
                continue
            with torch.no_grad(), present(module, parameter):
                x = parameter.detach().clone() if name is None else network.values(name)
                if tied and torch.equal(x, parameter):
                    continue
            self.untied |= tied
            yield key, self._held(x) if x.is_floating_point() else x

    def _held(self, x: Tensor) -> Tensor:
        """`x` in the files' dtype, where that holds it exactly."""
        small = x.to(self.dtype)
        if torch.equal(small.float(), x.float()):
            return small
        self.exact = False
        return x

    @property
    def computed_in(self) -> torch.dtype:
        """The dtype that config.json names: one that the library can run, and the files' one if it loses nothing."""
        if any(scheme.format in BF16_FORMATS for scheme in self.schemes.values()):
            return torch.bfloat16
        return self.dtype if self.exact else torch.float32

    def config(self) -> dict[str, Any]:
        """The quantization config."""
        groups: list[tuple[Scheme, list[str]]] = []
        for name, scheme in self.schemes.items():
            targets = next((found for known, found in groups if known == scheme), None)
            if targets is None:
                groups.append((scheme, [self.paths[name]]))
            else:
                targets.append(self.paths[name])
        formats = {scheme.format for scheme, _ in groups}
        linear = [path for path, each in self.network.module.named_modules() if isinstance(each, nn.Linear)]
        taken = set(self.paths.values())
        return {
            "quant_method": NAME,
            "format": formats.pop() if len(formats) == 1 else MIXED,
            "quantization_status": "compressed",
            "config_groups": {f"group_{i}": scheme.group(targets) for i, (scheme, targets) in enumerate(groups)},
            "ignore": [path for path in linear if path not in taken],
            "kv_cache_scheme": None,
            "global_compression_ratio": None,
        }


def write(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    """Write a network for transformers and vLLM, or as a module, and prove that the library computes what was scored.

    Raises InputError for a layer that is no `torch.nn.Linear`.
    """
    source = origin.directory if origin.library == "transformers" else None
    if source is not None and source.is_dir():
        return _write_directory(network, source, folder)
    found = _Checkpoint(network, torch.float32)
    write_shards(folder, found.tensors())
    _write_config(folder, {"quantization_config": found.config()})
    calls, inputs = _scored(found)
    with _quiet():
        module, compressor = _opened(folder, network.module)
        _check(found, module.state_dict())
        _decompress(module, compressor)
        return _compared(found, module, calls, inputs)


def load_compressed(folder: Path, module: nn.Module) -> nn.Module:
    """A copy of a float network with the weights and formats of an exported one, decompressed and ready to run.

    For networks that are not from a transformers directory; those `from_pretrained` opens.
    """
    with _quiet():
        found, compressor = _opened(folder, module)
        _decompress(found, compressor)
    return found


def _write_directory(network: ScoredNetwork, source: Path, folder: Path) -> Proof:
    written = read_json(source / CONFIG)
    copy_files(source, folder)
    found = _Checkpoint(network, _dtype_of(written))
    write_shards(folder, found.tensors())
    written.pop("torch_dtype", None)
    written |= {"dtype": _name(found.computed_in), "quantization_config": found.config()}
    if found.untied or is_untied(network.module):
        written["tie_word_embeddings"] = False
    _write_config(folder, written)
    calls, inputs = _scored(found)
    with _quiet():
        module = _from_pretrained(network, folder, torch.float32)
        _check(found, module.state_dict())
        _decompress(module, module.hf_quantizer.compressor)
        proof = _compared(found, module, calls, inputs, "transformers")
        if found.computed_in != torch.float32:
            del module
            default = least_sqnr_db(_from_pretrained(network, folder, None), calls)
            said = (
                f"opened in {_name(found.computed_in)}, as its config.json says, its outputs agree to {default:.1f} dB"
            )
            proof = replace(proof, deviations=(*proof.deviations, said))
    return proof


def _path(network: ScoredNetwork, name: str) -> str:
    """The path of a layer's module; raises InputError if it is none that the library compresses."""
    layer = network.layers[name]
    path = (layer.parameter or "").removesuffix(".weight")
    owner = network.module.get_submodule(path) if layer.parameter and layer.parameter.endswith(".weight") else None
    if not isinstance(owner, nn.Linear):
        kind = "a weight that the network computes, or a part of one" if owner is None else f"a {type(owner).__name__}"
        raise InputError(f"layer '{name}': {NAME} compresses torch.nn.Linear, and this is {kind}")
    return path


def _write_config(folder: Path, content: Mapping[str, Any]) -> None:
    write_atomic(folder / CONFIG, json.dumps(content, indent=2) + "\n")


def _dtype_of(config: Mapping[str, Any]) -> torch.dtype:
    """The dtype of a network's files, by its configuration."""
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(named, torch.float32)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---- opened again -------------------------------------------------------------------------------


def _from_pretrained(network: ScoredNetwork, folder: Path, dtype: torch.dtype | None) -> Any:
    """The directory as transformers opens it; raises CodesignError if it misses a weight, or does not know one."""
    cls: Any = type(network.module)
    module, info = cls.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=dtype or "auto", output_loading_info=True
    )
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[what]:
            raise CodesignError(
                f"transformers opens the directory with {what.replace('_', ' ')}: {sorted(info[what])[0]}"
            )
    return module.eval()


def _opened(folder: Path, module: nn.Module) -> tuple[nn.Module, Any]:
    """A copy of a module as the library opens it, compressed, and what decompresses it."""
    from compressed_tensors.compressors import ModelCompressor
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    content = read_json(folder / CONFIG)
    config = QuantizationConfig.model_validate(content["quantization_config"])
    fresh = copy.deepcopy(module).eval()
    with torch.no_grad():  # what is not read from the files must not look right
        for parameter in fresh.parameters():
            parameter.fill_(torch.nan)
    for path in (path for group in config.config_groups.values() for path in group.targets):
        linear = fresh.get_submodule(path)
        empty = torch.zeros_like(linear.get_parameter("weight"))
        linear.register_parameter("weight", nn.Parameter(empty, requires_grad=False))  # no longer tied
    apply_quantization_config(fresh, config, show_progress=False)
    with torch.no_grad():
        for name, parameter in fresh.named_parameters():
            if name.endswith("_scale"):
                parameter.fill_(1.0)
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(fresh)
    state: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    names = fresh.state_dict()
    tied = [key for key in names if key not in state]
    places = {x.data_ptr() for key, x in names.items() if key in state}
    lacking = [key for key in tied if names[key].data_ptr() not in places]
    if lacking or state.keys() - names.keys():
        key = (lacking or sorted(state.keys() - names.keys()))[0]
        raise CodesignError(f"'{folder}' and the network do not belong together: '{key}'")
    fresh.load_state_dict(state, strict=False)
    return fresh, compressor


def _decompress(module: nn.Module, compressor: Any) -> None:
    """Decompress a module with the library, and compute in float32, as was scored.

    The library decompresses some formats to bfloat16, whatever the dtype of the network is, which then does not run.
    """
    from compressed_tensors.offload import remove_dispatch

    compressor.decompress_model(module)
    remove_dispatch(module)
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if parameter.is_floating_point() and parameter.dtype != torch.float32:
                setattr(part, name, nn.Parameter(parameter.detach().float(), requires_grad=False))


# ---- and compared -------------------------------------------------------------------------------


def _check(found: _Checkpoint, held: Mapping[str, Tensor]) -> None:
    """Raise CodesignError unless the opened network holds the codes, scales and floats that were scored."""
    network = found.network
    for name, layer in network.weighted.items():
        if name in found.schemes:
            prefix = f"{found.paths[name]}."
            own = {key.removeprefix(prefix): x for key, x in held.items() if key.startswith(prefix)}
            check_packed(name, found.schemes[name], network.weight(name), own)
            check_inputs(name, layer.operands["input"], own)
        elif layer.parameter is not None:
            check_equal(name, "weights", held[layer.parameter], network.values(name))


def _scored(found: _Checkpoint) -> tuple[list[Call], dict[str, Seen]]:
    """Calls of the scored network, and the inputs of some layers of each kind."""
    groups: dict[str, list[str]] = {}
    for name, scheme in found.schemes.items():
        groups.setdefault(repr(scheme), []).append(name)
    with seen(found.network.module, {name: found.paths[name] for name in ends(groups.values())}) as inputs:
        return found.network.calls(), inputs


def _compared(
    found: _Checkpoint, module: nn.Module, calls: list[Call], inputs: Mapping[str, Seen], *packages: str
) -> Proof:
    network = found.network
    opened_by = " and ".join((*packages, NAME))
    check_layers(module, found.paths, inputs, {name: least_db(network, name, found.schemes[name]) for name in inputs})
    least, loss = least_sqnr_db(module, calls), least_sqnr_db(network.module, calls)
    check_sqnr(least, min(EXACT_DB, loss - LOSS_DB), opened_by)
    said = deviations_of(network, found.schemes)
    return Proof(opened_by, len(network.weighted), least, len(calls), loss, said, (NAME, "safetensors", *packages))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' progress bars and warnings."""
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        yield
