"""What a directory must not hold: links out of it, code of its own, a network that its files cannot fill."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from codesign.errors import InputError
from codesign.jsonio import read_json

_MODULES = re.compile(r"(?:n|num)_(?:\w+_)?(?:layers?|blocks|experts|stages)|\w*layers(?:_per_block)?|depths?")
_MOST_MODULES = 4096
_SIDES = ("sample_size", "image_size", "height", "width")
_LONGEST_SIDE = 1 << 16
_MOST_STEPS = 1_000_000  # of training, for which a scheduler keeps tables
_LARGEST = 2**31 - 1  # of any size; float limits such as 1e30 are no sizes
_NO_SIZES = re.compile(r"(?:\w+_)?(?:seed|model_max_length|parameters|params)")  # may be larger than any size
_INDEX = ".safetensors.index"
_MOST_HEADER = 100 << 20  # bytes of the header of a safetensors file, the library's own limit
_MOST_IN_BYTE = 2  # elements, of 4 bits
_MORE = 2  # times as many weights as the files hold: tied ones, and what a library fills in


def check_directory(folder: Path, parts: bool = False) -> None:
    """Raise InputError, in one line, for links out of a directory, code of its own, and safetensors that are not whole.

    parts: whether it is a pipeline's, whose parts lie in folders of their own. Code that no configuration names is
    never read. The cache of the Hugging Face hub links to its own blobs.
    """
    _check_folder(folder, folder, parts)


def _check_folder(folder: Path, root: Path, parts: bool) -> None:
    for path in sorted(folder.iterdir()):
        check_inside(path, root)
        if path.is_dir():
            if parts and not path.name.startswith("."):
                _check_folder(path, root, parts=False)
        elif path.suffix == ".safetensors":
            elements_of(path)
        elif _INDEX in path.name and path.suffix == ".json":
            _check_index(path)
        elif path.name in ("tokenizer_config.json", "preprocessor_config.json"):
            check_code(path, read_json(path))
        elif path.name == "model_index.json":
            _check_parts(path)


def check_inside(path: Path, root: Path) -> None:
    """Raise InputError if a path in the directory `root` is a link that leads out of it.

    root: may be a snapshot in the cache of the Hugging Face hub, or a folder in one, whose files are links to blobs.
    """
    if path == root or not path.is_symlink():
        return
    real, inside = Path(os.path.realpath(path)), Path(os.path.realpath(root))
    hub = any(
        each.parent.name == "snapshots" and real.parent == each.parent.parent / "blobs"
        for each in (inside, *inside.parents)
    )
    if not (hub or real.is_relative_to(inside)):
        raise InputError(f"'{path}' is a link out of its directory, which is not followed: copy the file there")


def check_code(file: Path, written: Any) -> None:
    """Raise InputError if a configuration names code of its own."""
    if isinstance(written, Mapping) and written.get("auto_map"):
        raise InputError(f"'{file.parent}' brings code of its own (auto_map in {file.name}), which is not run")


def check_counts(file: Path, written: Any) -> None:
    """Raise InputError for a configuration whose sizes nobody could mean, before anything is made of it."""
    for key, value in _numbers(written):
        if _NO_SIZES.fullmatch(key):
            continue
        limit = _LARGEST
        if _MODULES.fullmatch(key):
            limit = _MOST_MODULES
        elif key in _SIDES:
            limit = _LONGEST_SIDE
        elif key.endswith("timesteps"):
            limit = _MOST_STEPS
        if abs(value) > limit:
            raise InputError(f"'{file}': {key} is {value:,}, and at most {limit:,} can be meant")


def check_size(folder: Path, wanted: int, name: str) -> None:
    """Raise InputError if a network has far more weights than the safetensors of its directory hold."""
    held = sum(map(elements_of, folder.glob("*.safetensors")))
    if wanted > _MORE * held:
        raise InputError(
            f"'{folder}' holds {held:,} weights, and a {name} of its config.json has {wanted:,}: they do not belong "
            "together"
        )


def elements_of(file: Path) -> int:
    """How many numbers a safetensors file holds; raises InputError if it is none, or not whole."""
    try:
        if file.exists() and not file.is_file():  # to open a pipe would wait for its writer
            raise ValueError("it is a device or a pipe")
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _MOST_HEADER:
                raise ValueError("its header is too large")
            header = json.loads(opened.read(length))
        tensors = [each for name, each in header.items() if name != "__metadata__"]
        end = 8 + length + max((int(each["data_offsets"][1]) for each in tensors), default=0)
        if file.stat().st_size != end:
            raise ValueError(f"it has {file.stat().st_size:,} bytes, its header says {end:,}")
        return sum(map(_elements, tensors))
    except RecursionError:
        raise InputError(f"'{file}' is no whole safetensors file: its header nests too deeply") from None
    except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, struct.error) as error:
        raise InputError(f"'{file}' is no whole safetensors file: {str(error).splitlines()[0]}") from None


def _elements(tensor: Mapping[str, Any]) -> int:
    """Elements of a tensor of a header; raises ValueError if its bytes cannot hold them."""
    begin, end = (int(each) for each in tensor["data_offsets"])
    found: int = prod(tensor["shape"])
    if not 0 <= found <= _MOST_IN_BYTE * (end - begin):
        raise ValueError(f"a tensor of {found:,} numbers in {end - begin:,} bytes")
    return found


def _check_index(file: Path) -> None:
    """Raise InputError if an index of shards names files elsewhere."""
    places = read_json(file)
    names = places.get("weight_map") if isinstance(places, Mapping) else None
    for name in dict.fromkeys(names.values()) if isinstance(names, Mapping) else ():
        if not isinstance(name, str) or Path(name).name != name:
            raise InputError(f"'{file}' names '{name}', which is no file beside it")


def _check_parts(file: Path) -> None:
    """Raise InputError if the index of a pipeline names code of its own, as diffusers lets it."""
    index = read_json(file)
    for part, named in index.items() if isinstance(index, Mapping) else ():
        first = named[0] if isinstance(named, list) and named else None
        places = (file.parent, file.parent / part) if Path(str(part)).name == part else (file.parent,)
        if isinstance(first, str) and any((place / f"{first}.py").is_file() for place in places):
            raise InputError(f"'{file.parent}' brings code of its own ({first}.py, named for {part}), which is not run")


def _numbers(written: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(written, Mapping):
        for name, value in written.items():
            yield from _numbers(value, str(name))
    elif isinstance(written, list):
        for value in written:
            yield from _numbers(value, key)
    elif isinstance(written, int) and not isinstance(written, bool):
        yield key, written
