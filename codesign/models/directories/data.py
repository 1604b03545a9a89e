"""Data of tasks from directories: text, images and arrays, in batches for calibration and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from codesign.errors import InputError, nearest
from codesign.models.batches import Batch

ARRAYS = (".npz", ".safetensors")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Split(NamedTuple):
    """Batches to calibrate with and to evaluate on, which share no sample."""

    calibration: list[Batch]
    evaluation: list[Batch]


def placed(base: Path, written: str) -> Path:
    """A file or folder that is named from `base`, or else from the working folder."""
    path, here = base / Path(written).expanduser(), Path(written).expanduser()
    return here if here.exists() and not path.exists() else path


def documentation() -> str:
    """English prose that every Python has: its language reference by topics."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def read_text(path: Path) -> str:
    """The text of a file; raises InputError if it is none."""
    if not path.is_file():
        raise InputError(f"data: no text file '{path}'")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"data: '{path}' is no text in UTF-8") from None


def windows(ids: Sequence[int], count: int, length: int, what: str) -> Tensor:
    """`count` windows of `length` tokens, evenly spread over a text, int64 [count, length]."""
    found = len(ids) // length
    if found < count:
        raise InputError(
            f"{what} has {len(ids)} tokens, too few for {count} sequences of {length}: give a longer text, or fewer "
            "sequences or a smaller length"
        )
    places = (torch.arange(count) * found // count * length).tolist()
    return torch.stack([torch.tensor(ids[place : place + length]) for place in places]).long()


def in_batches(inputs: dict[str, Tensor], size: int, shared: Sequence[str] = (), labels: Any = None) -> list[Batch]:
    """Inputs by name in batches of at most `size` samples; those named in `shared` are whole in each."""
    counts = {key: len(x) for key, x in inputs.items() if key not in shared}
    count = min(counts.values())
    found = []
    for start in range(0, count, size):
        part = slice(start, start + size)
        cut = {key: x if key in shared else x[part] for key, x in inputs.items()}
        found.append(Batch(cut, None if labels is None else labels[part]))
    return found


def read_arrays(path: Path, known: Sequence[str], shared: Sequence[str]) -> dict[str, Tensor]:
    """Inputs of a network by name, from .npz or .safetensors.

    Raises InputError if the file is damaged, names an input that the network does not have, or holds different numbers
    of samples.
    """
    if not path.is_file():
        raise InputError(f"data: no file '{path}'")
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                found = {key: torch.from_numpy(file[key]) for key in file.files}
        else:
            found = load_file(path)
    except (OSError, ValueError, TypeError, BadZipFile, SafetensorError) as error:
        raise InputError(f"data: '{path}' cannot be read: {str(error).splitlines()[0]}") from None
    for key in found:
        if known and key not in known:
            raise InputError(f"data: '{path}' has '{key}', which is no input of the network{nearest(key, known)}")
    for key in shared:
        if key not in found:
            raise InputError(f"shared: '{path}' has no '{key}'{nearest(key, list(found))}")
    counts = {key: len(x) for key, x in found.items() if key not in shared and x.ndim}
    if len(set(counts.values())) > 1 or len(counts) + len(shared) < len(found):
        sizes = ", ".join(f"{key} {list(x.shape)}" for key, x in found.items())
        raise InputError(f"data: '{path}' holds different numbers of samples ({sizes}); name shared inputs in 'shared'")
    if not counts or not min(counts.values()):
        raise InputError(f"data: '{path}' holds no sample")
    return found


def split_arrays(
    path: Path, calibration: Path | None, known: Sequence[str], shared: Sequence[str], count: int | None, batch: int
) -> Split:
    """Samples of a file in batches, see `halves`."""
    first, second = halves(path, calibration, known, shared, count)
    return Split(in_batches(first, batch, shared), in_batches(second, batch, shared))


def halves(
    path: Path, calibration: Path | None, known: Sequence[str], shared: Sequence[str], count: int | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Samples of a file: the first half calibrates and the second is evaluated, unless there is a file for each."""
    evaluated = read_arrays(path, known, shared)
    samples = len(next(x for key, x in evaluated.items() if key not in shared))
    if calibration is not None:
        given = read_arrays(calibration, known, shared)
        first, second = given, evaluated
    elif samples == 1:
        raise InputError(f"data: '{path}' holds one sample, which cannot both calibrate and be evaluated; give two")
    else:
        half = samples // 2
        first = {key: x if key in shared else x[:half] for key, x in evaluated.items()}
        second = {key: x if key in shared else x[half:] for key, x in evaluated.items()}
    if count is not None:
        first, second = (
            {key: x if key in shared else x[:count] for key, x in part.items()} for part in (first, second)
        )
    return first, second


def pictures(
    folder: Path, height: int, width: int, mean: Sequence[float], std: Sequence[float], least: int = 2
) -> Tensor:
    """All images of a folder in the order of their names, cropped to the middle and resized, float32 [n, 3, H, W].

    Raises InputError if there are fewer than `least`.
    """
    if not folder.is_dir():
        raise InputError(f"data: no folder of images '{folder}'")
    files = sorted(each for each in folder.iterdir() if each.suffix.lower() in _PICTURES)
    if len(files) < least:
        why = ": one calibrates, one is evaluated" if least > 1 else ""
        raise InputError(f"data: '{folder}' holds {len(files)} images ({', '.join(_PICTURES)}), wanted {least}{why}")
    found = []
    for file in files:
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (UnidentifiedImageError, OSError):
            raise InputError(f"data: '{file}' is no image") from None
        scale = min(image.width / width, image.height / height)
        left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
        box = (left, top, left + scale * width, top + scale * height)
        small = image.resize((width, height), Image.Resampling.BICUBIC, box=box)
        found.append(torch.from_numpy(np.asarray(small, dtype=np.float32).transpose(2, 0, 1) / 255))
    images = torch.stack(found)
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def split_pictures(
    images: Tensor,
    count: int | None,
    batch: int,
    inputs: Callable[[Tensor], dict[str, Tensor]],
    calibration: Tensor | None = None,
) -> Split:
    """Every second image calibrates and the others are evaluated, unless there are images for each."""
    first, second = (images[::2], images[1::2]) if calibration is None else (calibration, images)
    first, second = first[:count], second[:count]
    return Split(in_batches(inputs(first), batch), in_batches(inputs(second), batch))
