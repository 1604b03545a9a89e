"""Inputs of a network in batches, with samples along the first axis."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from codesign.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Inputs of one call, and the labels that metrics may ask for."""

    inputs: Any  # a tensor, a tuple of arguments or a dict of keyword arguments
    labels: Any = None  # tensors with the samples along the first axis too


@dataclass(frozen=True)
class Batches:
    """Data of a task: one batch, or many that are made when they are read.

    data: inputs of one call; or an iterable of inputs or `Batch` (a DataLoader, a list of Batch, an object with
    ``__iter__``), or a function that returns one, as an iterator alone could be read only once.
    """

    data: Any
    device: torch.device | None = None

    def __iter__(self) -> Iterator[Batch]:
        for each in self._each():
            batch = each if isinstance(each, Batch) else Batch(each)
            yield Batch(self._placed(batch.inputs), batch.labels if batch.labels is None else _tensors(batch.labels))

    def _each(self) -> Iterable[Any]:
        data = self.data
        if isinstance(data, Iterator):
            raise InputError("an iterator can be read only once: give an iterable, or a function that returns one")
        if callable(data) and not isinstance(data, Tensor):
            data = data()
        elif not hasattr(data, "__iter__") or isinstance(data, (Tensor, np.ndarray, Mapping, tuple)):
            return (data,)
        elif isinstance(data, list) and not (data and all(isinstance(each, Batch) for each in data)):
            return (data,)  # of arguments
        found: Iterable[Any] = data
        return found

    def _placed(self, inputs: Any) -> Any:
        inputs = _tensors(inputs)
        if self.device is None:
            return inputs
        return tree_map(lambda leaf: leaf.to(self.device) if isinstance(leaf, Tensor) else leaf, inputs)

    def first(self) -> Batch:
        """The first batch; raises InputError if there is none."""
        found = next(iter(self), None)
        if found is None:
            raise InputError("the data hold no batch")
        return found


def _tensors(inputs: Any) -> Any:
    return tree_map(lambda leaf: torch.from_numpy(leaf) if isinstance(leaf, np.ndarray) else leaf, inputs)


def lengths(inputs: Any) -> list[int]:
    """The distinct lengths of the tensors in `inputs`, in order."""
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim]
    return list(dict.fromkeys(len(leaf) for leaf in leaves))


def rows(inputs: Any, which: slice | Tensor, count: int) -> Any:
    """Some of the `count` samples of `inputs`; flags, and tensors shared by all samples (a mask [L, L]), stay whole.

    which: a slice, or indices [k].
    """

    def taken(leaf: Any) -> Any:
        return leaf[which] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count else leaf

    return tree_map(taken, inputs)


def samples(data: Batches) -> Iterator[bytes]:
    """A digest of the inputs of each sample; of shapes and values."""
    for batch in data:
        count = max(lengths(batch.inputs), default=0)
        for place in range(count):
            digest = hashlib.sha256()
            for leaf in tree_leaves(rows(batch.inputs, slice(place, place + 1), count)):
                if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == 1:
                    digest.update(str(leaf.shape).encode())
                    for array in arrays(leaf):
                        digest.update(array.tobytes())
            yield digest.digest()


def in_words(inputs: Any) -> str:
    """Inputs by their shapes and types: "x: [32, 16] float32, flag: bool"."""
    if isinstance(inputs, Mapping):
        return ", ".join(f"{key}: {in_words(value)}" for key, value in inputs.items())
    if isinstance(inputs, (tuple, list)):
        return ", ".join(map(in_words, inputs))
    if isinstance(inputs, Tensor):
        return f"{list(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')}"
    return type(inputs).__name__


def arrays(data: Any) -> Iterator[np.ndarray]:
    """The arrays in `data`, as `Task.data_arrays` gives them."""
    for leaf in tree_leaves(data):
        if isinstance(leaf, Tensor):
            # numpy has no bfloat16: its bit patterns
            bits = leaf.detach().cpu().contiguous()
            yield bits.view(torch.int16).numpy() if leaf.dtype == torch.bfloat16 else bits.numpy()
        elif isinstance(leaf, np.ndarray):
            yield leaf
