"""A network of torchao's tensors as a directory that transformers or diffusers loads, where it came from one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codesign.errors import CodesignError
from codesign.export.directories import copy_files, is_untied
from codesign.export.origin import Origin
from codesign.export.scored import ScoredNetwork
from codesign.export.torchao_config import config_of
from codesign.export.torchao_tensors import check_tensor, quantized_layers
from codesign.files import write_atomic

CONFIG = "config.json"
WEIGHTS = {"transformers": "model.safetensors", "diffusers": "diffusion_pytorch_model.safetensors"}


def library_of(network: ScoredNetwork, origin: Origin) -> str | None:
    """The library whose directory a network's module makes; None if it came from elsewhere."""
    module = type(network.module).__module__.partition(".")[0]
    return module if module == origin.library and module in WEIGHTS else None


def refusal(network: ScoredNetwork) -> str | None:
    """Why transformers and diffusers cannot load a network from its directory, in words; None if they can."""
    count = sum(layer.operands["input"].range is not None for layer in quantized_layers(network))
    return f"calibrated scales of activations, in {count} layers, are not read by them" if count else None


def hint(library: str) -> list[str]:
    """What a user of the library must know, in words."""
    if library == "transformers":
        return []
    return ["diffusers rounds scales to bfloat16 unless from_pretrained is given torch_dtype=torch.float32"]


def write_config(network: ScoredNetwork, library: str, origin: Origin, folder: Path) -> None:
    """Write ``config.json`` with torchao's configuration of each module, and copy what stands beside the weights.

    What the folder holds already is not overwritten.
    """
    if library == "diffusers":
        from diffusers import TorchAoConfig

        written: Any = network.module.config
        content = {key: value for key, value in written.items() if key != "_name_or_path"}
        content |= {
            "_class_name": type(network.module).__name__,
            "quantization_config": TorchAoConfig(quant_type=config_of(network)).to_dict(),
        }
        write_atomic(folder / CONFIG, json.dumps(content, indent=2) + "\n")
        return
    from transformers import TorchAoConfig as Config

    config: Any = copy.deepcopy(network.module.config)
    config.quantization_config = Config(quant_type=config_of(network))
    config.dtype = torch.float32
    if _unties(network) or is_untied(network.module):
        config.tie_word_embeddings = False
    if origin.directory is not None and origin.directory.is_dir():
        copy_files(origin.directory, folder, left_out=[each.name for each in folder.iterdir()])
    config.save_pretrained(folder)


def opened(network: ScoredNetwork, folder: Path) -> nn.Module:
    """The network as its library loads it; raises CodesignError if it holds others than were scored."""
    kind: Any = type(network.module)
    more = {"torch_dtype": torch.float32} if kind.__module__.startswith("diffusers.") else {}
    try:
        module: nn.Module = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, **more).eval()
    except Exception as error:  # whatever the library raises of its own
        raise CodesignError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error
    for layer in quantized_layers(network):
        check_tensor(network, layer, module.get_submodule(layer.name).weight)
    return module


def _unties(network: ScoredNetwork) -> bool:
    """Whether a quantized weight was that of another module, too, which keeps the float one."""
    owners: dict[int, int] = {}
    for _, parameter in network.module.named_parameters(remove_duplicate=False):
        owners[id(parameter)] = owners.get(id(parameter), 0) + 1
    names = [layer.parameter for layer in quantized_layers(network) if layer.parameter is not None]
    return any(owners[id(network.module.get_parameter(name))] > 1 for name in names)
