"""A `Task`: a network that can be scored, its data and its metrics."""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from codesign.workload.types import Workload

Direction = Literal["minimize", "maximize"]
Outputs = dict[str, Tensor]
Scale = Literal["raw", "log10", "db"]
"""Of a loss: raw, where what several layers lose adds up (a squared error, a divergence); its log10; or its decibels,
10 log10, so that a negated PSNR is one."""
SCALES: tuple[Scale, ...] = ("raw", "log10", "db")
_DECADES = {"log10": 1.0, "db": 10.0}
MOST_DECADES = 300  # of a logarithm: a float holds 10 to the 308
LEAST_RAW = 1e-12  # a loss below it counts as none: -12 in log10, 120 dB


@dataclass(frozen=True)
class Samples:
    """One metric before it is a number: a row per independent sample, and the rule that joins rows.

    `values` has shape [n, ...]; ``reduce(values[rows])`` is the metric of any resample of rows, so
    that an interval is a bootstrap over `rows`, and a paired one uses the same rows for both sides.
    """

    name: str
    unit: str
    direction: Direction
    values: np.ndarray
    reduce: Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Part:
    """Some samples of a task's deciding metric: the same network on these alone, and which rows of the metric they are.

    rows: int [k], into ``Samples.values`` of the whole; share: of the whole's time that it takes.
    """

    task: Task
    rows: np.ndarray
    share: float


@dataclass(frozen=True, eq=False)
class ImageExample:
    """A picture to look at; image: uint8 [H, W, 3]."""

    label: str
    image: np.ndarray


@dataclass(frozen=True)
class TextExample:
    """A text that was asked for from a source, the right answer, and what was written."""

    source: str
    target: str
    text: str


Example = ImageExample | TextExample


class Task(abc.ABC):
    """A trained network with calibration data, evaluation data and metrics.

    `name` is the key in YAML and JSON, `module` the float network in eval mode, `deciding` the
    name of the metric that the search optimises (always computed): a loss, smaller is better, in `unit`
    and on `scale`. `seed` fixes all noise. `more_when_full`: whether ``full`` runs and scores anything
    that the deciding metric does not need.
    """

    name: str
    module: nn.Module
    deciding: str
    seed: int
    unit: str = ""
    scale: Scale = "raw"
    more_when_full: bool = True

    @abc.abstractmethod
    def calibrate(self, module: nn.Module) -> None:
        """Run the calibration batch through `module` (ranges are observed by the caller)."""

    @abc.abstractmethod
    def run(self, module: nn.Module, *, full: bool = False) -> Outputs:
        """Run the evaluation batch; differentiable when ``full`` is False and grad is enabled.

        ``full`` adds what only the complete report needs (generated text, more samples).
        The same seed draws the same noise in every call.
        """

    @abc.abstractmethod
    def score(self, outputs: Outputs, reference: Outputs, *, full: bool = False) -> list[Samples]:
        """Metrics of `outputs`; `reference` are the float network's outputs of the same call.

        The first is the deciding metric. ``full`` needs outputs of ``run(full=True)``.
        """

    @abc.abstractmethod
    def probe(self, outputs: Outputs, generator: torch.Generator) -> Tensor:
        """A random scalar v.y whose v has the second moment of the deciding metric's curvature.

        Then E[(gradient . delta)^2] estimates the (raw, not log) metric after a small change
        delta: Rademacher v for a squared error, the score of a sampled label for a KL divergence.
        """

    @abc.abstractmethod
    def workload(self) -> Workload:
        """The operators of one result (one image, one message)."""

    @abc.abstractmethod
    def data_arrays(self) -> Iterable[np.ndarray]:
        """Calibration and evaluation data, for `fingerprint`."""

    def examples(self, outputs: Outputs, *, reference: bool = False) -> dict[str, list[Example]]:
        """What a person may look at, from outputs of ``run(full=True)``; {} where there is nothing to show.

        Key ``output`` holds what the network made; with ``reference`` there are also the task's own, such as
        ``input`` and ``truth``, item by item the same.
        """
        return {}

    def part(self) -> Part | None:
        """A third or so of the deciding samples, enough to tell a hopeless assignment; None where all are needed."""
        return None

    def raw(self, value: float) -> float:
        """The deciding metric's value on the additive scale that `probe` estimates (10**v for a log10)."""
        return value if self.scale == "raw" else float(10.0 ** min(value / _DECADES[self.scale], MOST_DECADES))

    def from_raw(self, raw: float) -> float:
        """Inverse of `raw`, down to `LEAST_RAW` where the scale is a logarithm."""
        return raw if self.scale == "raw" else _DECADES[self.scale] * math.log10(max(raw, LEAST_RAW))

    def fingerprint(self) -> str:
        """Hash of network, data, seed and metric: the key under which results may be reused."""
        h = hashlib.sha256(f"{self.name}|{self.deciding}|{self.scale}|{self.seed}".encode())
        for name, tensor in self.module.state_dict().items():
            h.update(name.encode())
            h.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        h.update(self.data_fingerprint().encode())
        return h.hexdigest()[:24]

    def data_fingerprint(self) -> str:
        """Hash of calibration and evaluation data and of the seed: losses on other data compare with no other loss."""
        h = hashlib.sha256(str(self.seed).encode())
        for array in self.data_arrays():
            h.update(str(array.shape).encode())
            h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()[:24]
