"""How far the sampled outputs of a network's layers are off in a format that all of them take."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from codesign.errors import EnvironmentProblem
from codesign.formats import Format, get_format
from codesign.models.task import Task
from codesign.quality.cache import ResultCache, identity_of
from codesign.quality.operands import LayerOperands, sample_operands

_KIND = "layer errors"  # of a result in the cache
_LEAST = 1e-12  # of the signal: smaller errors count as this


class LayerErrors:
    """The error of a task's layers in formats, each measured once.

    cache: folder that keeps them, under the network, its data and the code that measures; None: they are not kept.
    """

    def __init__(self, task: Task, cache: Path | None = None) -> None:
        self._task = task
        self._cache = ResultCache(cache, identity_of(task)) if cache is not None else None

    def __call__(self, name: str) -> list[float]:
        """Squared error of every layer's outputs, weights and activations in this format, in decibels of the signal."""
        known = self._cache.get(name, _KIND) if self._cache is not None else None
        if known is not None:
            return [float(each) for each in known]
        found = _errors(get_format(name), self._operands)
        if self._cache is not None:
            with suppress(EnvironmentProblem):  # it is measured again where nothing can be written
                self._cache.put(name, _KIND, found)
        return found

    @cached_property
    def _operands(self) -> Sequence[LayerOperands]:
        return sample_operands(self._task)


def _errors(fmt: Format, layers: Sequence[LayerOperands]) -> list[float]:
    found = []
    for layer in layers:
        exact = layer.streamed.flatten(1).double() @ layer.stationary.flatten(1).double().T
        w, a = _rounded(fmt, layer.stationary, rows=True), _rounded(fmt, layer.streamed, rows=False)
        noise = float((a.flatten(1).double() @ w.flatten(1).double().T - exact).square().sum())
        signal = float(exact.square().sum())
        if signal:
            found.append(noise / signal)
    ratios = torch.tensor(found, dtype=torch.float64).clamp_min(_LEAST)
    decibels: list[float] = (10 * ratios.log10()).tolist()
    return decibels


def _rounded(fmt: Format, x: Tensor, *, rows: bool) -> Tensor:
    """An operand [N, T, C] as a network rounds it: blocks along C, else a scale per row of a weight, or one."""
    if fmt.is_block:
        return fmt.fake_quantize(x, -1)
    return fmt.fake_quantize(x.flatten(1), -1 if rows else None).view(x.shape)
