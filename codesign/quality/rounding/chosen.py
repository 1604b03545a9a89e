"""`ChosenWeights`: the rounded weights of a network by layer, format and method, each found once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from codesign.files import empty_beside
from codesign.formats import Format, get_format
from codesign.formats.assignment import NEAREST
from codesign.formats.format import Quantized, datapath
from codesign.models.streaming import present, reads_blocks
from codesign.models.task import Task
from codesign.quality.rounding.gptq import rounded
from codesign.quality.rounding.moments import Moments, has_moments
from codesign.quality.rounding.rows import rows_of, values_of
from codesign.workload import Product, ProductInterceptor

_MOST_THREADS = 4
_MANY_INPUTS = 4096


@dataclass(frozen=True, order=True)
class Wanted:
    """A weight to be rounded."""

    layer: str
    format: str  # the datapath: weights have no scales per token
    method: str

    @classmethod
    def of(cls, layer: str, fmt: str, method: str) -> Wanted:
        """The weight of a layer in a format."""
        return cls(layer, datapath(fmt), method)


class ChosenWeights:
    """Weights of a task's network that are rounded by a method, see `codesign.quality.rounding`.

    They depend on the float network and its calibration data alone, not on the formats of other layers, so that each is
    found once per (layer, format, method). A weight that is no parameter, or whose layer is an einsum or a bank of
    experts, is rounded to the nearest, as are casts. folder: where they are kept as safetensors, none if None;
    identity: what they depend on.
    """

    def __init__(self, task: Task, folder: Path | None = None, identity: Mapping[str, str] | None = None) -> None:
        self._task = task
        self._store = _Store(folder, dict(identity or {})) if folder is not None else None
        self._found: dict[Wanted, Quantized | None] = {}  # None: rounded to the nearest
        self._stored: set[Wanted] = set()  # those on disk, which are not held in memory
        self._parameters = {id(p) for p in task.module.parameters()}

    def find(self, wanted: Iterable[Wanted]) -> None:
        """Find all weights that are not known yet, in as few runs of the calibration data as memory allows."""
        missing = [each for each in sorted(set(wanted)) if not self._known(each)]
        products = self._products({each.layer for each in missing}) if missing else {}
        for each in missing:
            if each.layer not in products:
                self._found[each] = None
        waiting = {each.layer for each in missing if each.layer in products}
        while waiting:
            moments = Moments(self._task).of(waiting)
            if not moments:
                break
            ready = [each for each in missing if each.layer in moments]
            with self._threads(
                len(ready), max(each.shape[-1] for each in moments.values())
            ) as pool:  # weights do not depend on each other
                layers = [each.layer for each in ready]
                list(pool.map(self._choose, ready, map(products.get, layers), map(moments.get, layers)))
            waiting -= set(moments)
        for each in missing:
            if each.layer in waiting:
                self._found[each] = None

    def get(self, product: Product, fmt: Format, method: str) -> Quantized | None:
        """The rounded weight as rows (`rows_of`); None where it is rounded to the nearest."""
        return self.of_layer(product.layer, fmt, method)

    def of_layer(self, layer: str, fmt: Format, method: str) -> Quantized | None:
        """`get` of the layer's product."""
        wanted = Wanted.of(layer, fmt.name, method)
        if method == NEAREST or fmt.is_cast:
            return None
        if not self._known(wanted):
            self.find([wanted])
        if wanted in self._found:
            return self._found[wanted]
        stored = self._store.get(wanted) if self._store is not None else None
        if stored is None:  # somebody deletes files there: from now on weights are kept in memory
            self._store = None
            self._stored.clear()
            self.find([wanted])
            return self._found[wanted]
        return stored

    def weight(self, product: Product, fmt: Format, method: str) -> Tensor | None:
        """The values of the rounded weight, like the weight itself; None where it is rounded to the nearest."""
        quantized = self.get(product, fmt, method)
        return None if quantized is None else values_of(product, quantized)

    def _threads(self, weights: int, inputs: int) -> ThreadPoolExecutor:
        """A few, each of which computes with as many threads as the caller: sums keep their order.

        One where a weight has so many inputs that their moments take much memory, or weights are read block by block.
        """
        own = torch.get_num_threads()
        count = max(1, min(_cores() // own, weights, _MOST_THREADS))
        if inputs > _MANY_INPUTS or reads_blocks(self._task.module):
            count = 1
        return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(own,))

    def _known(self, wanted: Wanted) -> bool:
        if wanted in self._found or wanted in self._stored:
            return True
        if wanted.method == NEAREST or get_format(wanted.format).is_cast:
            self._found[wanted] = None
            return True
        if self._store is not None and self._store.get(wanted) is not None:
            self._stored.add(wanted)
            return True
        return False

    def _choose(self, wanted: Wanted, product: Product | None, moments: Tensor | None) -> None:
        assert product is not None
        assert moments is not None
        with torch.no_grad(), present(self._task.module, product.stationary):
            rows = rows_of(product)
            quantized = rounded(rows, get_format(wanted.format), moments, wanted.method)
        if self._store is not None and self._store.put(wanted, quantized):
            self._stored.add(wanted)
        else:
            self._found[wanted] = quantized

    def _products(self, layers: Collection[str]) -> dict[str, Product]:
        """A product of each layer whose weight is a parameter and whose inputs have second moments."""
        found: dict[str, Product] = {}

        def observe(product: Product) -> None:
            if product.layer not in layers or product.layer in found or not has_moments(product):
                return
            weight = product.stationary
            if id(weight if weight._base is None else weight._base) in self._parameters:
                found[product.layer] = replace(product, input=product.input.new_empty(0))

        with torch.inference_mode(), ProductInterceptor(self._task.module, observe, decompose=True):
            self._task.calibrate(self._task.module)
        return found


class _Store:
    """Rounded weights on disk, one file each, under a key that covers everything they depend on."""

    def __init__(self, folder: Path, identity: dict[str, str]) -> None:
        self._folder = folder
        self._identity = identity

    def _file(self, wanted: Wanted) -> tuple[Path, str]:
        key = json.dumps([self._identity, wanted.layer, wanted.format, wanted.method], sort_keys=True)
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors", key

    def get(self, wanted: Wanted) -> Quantized | None:
        """The stored weight; None if there is no valid one."""
        path, key = self._file(wanted)
        try:
            with safe_open(path, framework="pt") as opened:
                written = opened.metadata() or {}
                parts = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no dictionary
            if written.get("key") != key or written.get("sum") != _sum(parts):
                return None
        except (OSError, SafetensorError):
            return None
        fmt, codes = get_format(wanted.format), parts["codes"]
        scales, zero_points, tensor_scale = map(parts.get, ("scales", "zero_points", "tensor_scale"))
        return Quantized(fmt, codes, scales, zero_points, tensor_scale, codes.ndim - 1, torch.float32)

    def put(self, wanted: Wanted, quantized: Quantized) -> bool:
        """Store a weight; False if the folder cannot be written."""
        path, key = self._file(wanted)
        names = ("codes", "scales", "zero_points", "tensor_scale")
        parts = {name: part.contiguous() for name in names if (part := getattr(quantized, name)) is not None}
        temporary: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = empty_beside(path)
            save_file(parts, temporary, metadata={"key": key, "sum": _sum(parts)})
            temporary.replace(path)
        except (OSError, SafetensorError):
            if temporary is not None:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            return False
        return True


def _sum(parts: Mapping[str, Tensor]) -> str:
    """A digest of tensors by name."""
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
