"""Directories of foreign libraries: the files beside a network's weights, copied, and safetensors in shards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.files import write_atomic
from codesign.models.directories.safety import check_inside

SHARD_BYTES = 5_000_000_000
_KEPT = (".json", ".jinja", ".md", ".model", ".spm", ".tiktoken", ".txt")  # of tokenizers, processors, configurations
_WEIGHTS = (".safetensors",)
_INDEX = ".safetensors.index"  # in the name of what says which shard holds a weight
_MOST_BYTES = 256 << 20  # of one file that holds no weights
_DEEPEST = 4  # folders in folders


def is_untied(module: nn.Module) -> bool:
    """Whether a network of transformers no longer shares the weight that its configuration says it shares.

    A preparation that folds gains into the head gives it a weight of its own.
    """
    get_head, get_embedding = (getattr(module, f"get_{part}_embeddings", None) for part in ("output", "input"))
    head, embedding = get_head() if get_head else None, get_embedding() if get_embedding else None
    mine, theirs = getattr(head, "weight", None), getattr(embedding, "weight", None)
    return mine is not None and theirs is not None and mine is not theirs


def copy_files(source: Path, target: Path, left_out: Collection[str] = ()) -> list[str]:
    """Copy the files of a directory that are no weights: tokenizers and configurations, never code; their names.

    left_out: names of files that are not copied.
    """
    return sorted(_copied(source, target, source, _KEPT, deep=False, left_out=left_out))


def copy_parts(source: Path, target: Path, without: str, left_out: Collection[str] = ()) -> list[str]:
    """Copy a pipeline's directory, weights in safetensors included, but of the part `without` no weights.

    left_out: names of folders that are not copied.
    """
    found = list(_copied(source, target, source, _KEPT, deep=False))
    for part in sorted(each for each in source.iterdir() if each.is_dir() and not each.name.startswith(".")):
        if part.name in left_out:
            continue
        suffixes = _KEPT if part.name == without else (*_KEPT, *_WEIGHTS)
        found += _copied(part, target / part.name, source, suffixes, deep=part.name != without)
    return sorted(found)


def _copied(
    folder: Path, target: Path, root: Path, suffixes: tuple[str, ...], *, deep: bool, left_out: Collection[str] = ()
) -> Iterable[str]:
    """Paths, from `root`, of what was copied; raises InputError for a link out of `root`, or a file of absurd size."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in left_out:
            continue
        check_inside(path, root)
        if path.is_dir():
            if deep and len(path.relative_to(root).parts) <= _DEEPEST:
                yield from _copied(path, target / path.name, root, suffixes, deep=True)
            continue
        index_of_nothing = ".index." in path.name and not (_INDEX in path.name and _WEIGHTS[0] in suffixes)
        if path.suffix not in suffixes or index_of_nothing:
            continue
        size = path.stat().st_size
        if path.suffix not in _WEIGHTS and size > _MOST_BYTES:
            raise InputError(f"'{path}' has {size:,} bytes, too many for a file without weights")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / path.name)
        yield str(path.relative_to(root))


def write_shards(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    stem: str = "model",
    *,
    variant: str | None = None,
    most: int = SHARD_BYTES,
) -> list[Path]:
    """Write tensors to ``STEM.safetensors``, or in shards of at most `most` bytes with their index; the files.

    No more than a shard is in memory. variant: what diffusers has in the names besides, such as fp16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index_name = f"{stem}.safetensors.index{f'.{variant}' if variant else ''}.json"
    stem = f"{stem}.{variant}" if variant else stem
    shards: list[list[str]] = []
    part: dict[str, Tensor] = {}
    size = total = 0

    def flush() -> None:
        save_file(part, folder / f"{stem}.{len(shards)}.part", metadata={"format": "pt"})
        shards.append(list(part))
        part.clear()

    for name, tensor in tensors:
        bytes_ = tensor.numel() * tensor.element_size()
        if part and size + bytes_ > most:
            flush()
            size = 0
        part[name] = tensor.detach().cpu().contiguous().clone()
        size, total = size + bytes_, total + bytes_
    flush()
    files: list[Path] = []
    places: dict[str, str] = {}
    for number, names in enumerate(shards):
        ending = "" if len(shards) == 1 else f"-{number + 1:05d}-of-{len(shards):05d}"
        file = folder / f"{stem}{ending}.safetensors"
        (folder / f"{stem}.{number}.part").replace(file)
        files.append(file)
        places |= dict.fromkeys(names, file.name)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
        write_atomic(folder / index_name, json.dumps(index, indent=1) + "\n")
    return files
