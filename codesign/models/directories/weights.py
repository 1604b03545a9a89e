"""Weights of a directory: all in memory, or read from safetensors block by block while the network runs."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codesign.errors import CodesignError, EnvironmentProblem, InputError
from codesign.models.directories.conversion import converted_sources
from codesign.models.directories.safety import check_size
from codesign.models.streaming import streamed, weightless

GIB = 1 << 30
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_SHARE = 0.5  # of the machine's memory that a network's float weights may take


def load_weights(cls: Any, config: Any, folder: Path, gguf: str, memory_gib: float | None) -> nn.Module:
    """The network in float32, its weights read from safetensors or GGUF; nothing else is run or fetched.

    A network whose weights need more than `memory_gib` (by default half of the machine's memory) is streamed.
    """
    if not gguf and not any(folder.glob("*.safetensors")):
        other = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth"))
        why = "only weights in pickles, which may run code: save it with safe_serialization" if other else "no weights"
        raise InputError(f"'{folder}' holds {why} (wanted: .safetensors)")
    if not gguf:
        with reading(folder):
            check_size(folder, _weights_of(cls, config), cls.__name__)
    size = sum(each.stat().st_size for each in folder.glob("*.safetensors"))  # in float32 up to twice as much
    limit = memory_gib * GIB if memory_gib else _SHARE * machine_memory()
    if not gguf and 2 * size > limit and _float32_bytes(cls, config) > limit:
        empty = _empty(cls, config)
        with reading(folder):
            return streamed(empty, folder, None if _of_diffusers(cls) else converted_sources(empty, folder))
    more: dict[str, object] = {"gguf_file": gguf} if gguf else {"use_safetensors": True, "variant": variant_of(folder)}
    if _of_diffusers(cls):
        more["torch_dtype"] = torch.float32
    else:
        more |= {"dtype": torch.float32, "ignore_mismatched_sizes": True}  # said below
    with reading(folder / gguf):
        module, info = cls.from_pretrained(folder, local_files_only=True, output_loading_info=True, **more)
    for key, ours, wanted in sorted(info["mismatched_keys"]):
        raise InputError(
            f"'{folder / gguf}': '{key}' has shape {list(ours)}, and a {cls.__name__} of its config.json {list(wanted)}"
        )
    if lacking := sorted(info["missing_keys"]):  # which the library fills with random numbers
        raise InputError(
            f"'{folder / gguf}' holds no '{lacking[0]}' ({len(lacking)} weights of a {cls.__name__} are missing)"
        )
    found: nn.Module = module.eval()
    return found


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """What the library raises about a file is one line that names it."""
    try:
        yield
    except CodesignError:
        raise
    except ImportError as error:
        raise EnvironmentProblem(f"'{file}' cannot be read: {_first_line(error)}") from error
    except Exception as error:  # tokenizers raises no other
        raise InputError(f"'{file}' cannot be read: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _of_diffusers(cls: Any) -> bool:
    return str(cls.__module__).partition(".")[0] == "diffusers"


def variant_of(folder: Path) -> str | None:
    """The variant that a file's name says, such as fp16, where there is no file without one."""
    stems = [_SHARD.sub("", file.name.removesuffix(".safetensors")) for file in sorted(folder.glob("*.safetensors"))]
    found = [stem.partition(".")[2] for stem in stems]
    return None if "" in found else found[0]


def _empty(cls: Any, config: Any) -> nn.Module:
    """The network without weights, in float32."""
    with weightless():
        found: nn.Module = (
            cls.from_config(config) if _of_diffusers(cls) else cls._from_config(config, dtype=torch.float32)
        )
    return found.eval()


def _weights_of(cls: Any, config: Any) -> int:
    """How many weights a network has, found without memory for them; 0 if it cannot be made so."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = cls.from_config(config) if _of_diffusers(cls) else cls._from_config(deepcopy(config))
    except NotImplementedError:  # it looks at numbers that it makes
        return 0
    return sum(parameter.numel() for parameter in module.parameters())


def _float32_bytes(cls: Any, config: Any) -> int:
    return 4 * sum(parameter.numel() for parameter in _empty(cls, config).parameters())


def machine_memory() -> int:
    """Bytes of memory that this machine has, or that its control group may use."""
    limits = [Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")]
    found = [_installed()]
    for file in limits:
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            found.append(int(text))
    return min(found)


def _installed() -> int:
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not known here
        return 8 * GIB
