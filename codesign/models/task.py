"""`Task`: a network that can be scored, with its data and metrics."""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from codesign.models.distances import mean_squares
from codesign.models.streaming import weights_of
from codesign.terms import Direction, Scale
from codesign.workload.types import Workload

if TYPE_CHECKING:
    from codesign.models.preparation.types import Preparation

Outputs = dict[str, Tensor]
_DECADES = {"log10": 1.0, "db": 10.0}
MOST_DECADES = 300  # largest exponent of `Task.raw`: the largest float is about 10**308
LEAST_RAW = 1e-12  # smaller losses count as zero: -12 in log10, 120 dB


@dataclass(frozen=True)
class Samples:
    """One metric before reduction: a row per independent sample, and the function that reduces rows to a value.

    Intervals are bootstraps over rows; a paired bootstrap uses the same rows for both networks.
    """

    name: str
    unit: str
    direction: Direction
    values: np.ndarray  # [n, ...]
    reduce: Callable[[np.ndarray], float]  # ``reduce(values[rows])`` is the metric on any resample of rows


@dataclass(frozen=True)
class Part:
    """A part of a task's evaluation samples, on which hopeless assignments can be rejected early."""

    task: Task  # the same network with these samples only
    rows: np.ndarray  # int [k], rows of the whole task's ``Samples.values`` of the deciding metric
    share: float  # of the time of the whole evaluation


@dataclass(frozen=True, eq=False)
class ImageExample:
    """An example image."""

    label: str
    image: np.ndarray  # uint8 [H, W, 3]


@dataclass(frozen=True)
class TextExample:
    """An example of text generation."""

    source: str  # the input
    target: str  # the right answer
    text: str  # the generated answer


Example = ImageExample | TextExample


class Task(abc.ABC):
    """A trained network with calibration data, evaluation data and metrics."""

    name: str  # the key in YAML and JSON
    module: nn.Module  # the float network, in eval mode
    deciding: str  # name of the metric that the search minimizes, which is always computed: a loss
    seed: int  # of all noise
    unit: str = ""  # of the deciding metric
    scale: Scale = "raw"  # of the deciding metric
    file: Path | None = None  # where it is written, if it is a user's own
    code: str = ""  # hash of the code of this task, besides that which all tasks share
    kept_bytes: int = 1 << 29  # of quantized weights that are kept from one evaluation to the next
    bundled: bool = False  # whether it comes with codesign, so that its weights and data say what it is
    more_when_full: bool = True  # whether ``full`` runs or scores more than the deciding metric needs
    preparation: Preparation | None = None  # of its network, see `codesign.models.preparation`
    identity: str = ""  # the fingerprint, where the weights were computed and differ in last bits between machines

    @abc.abstractmethod
    def calibrate(self, module: nn.Module) -> None:
        """Run `module` on the calibration data, during which the caller observes activation ranges."""

    def practise(self, module: nn.Module) -> None:
        """Run `module` on what its weights may be tuned on, `codesign.quality.tuning`: by default what calibrates it.

        Never on evaluation data.
        """
        self.calibrate(module)

    def distance(self, returned: Any, wanted: Any) -> Tensor:
        """What tuning minimizes: a scalar, of what a call of the module returns and what the float network returned.

        By default squared errors; where the deciding metric is another loss, one that falls with it.
        """
        return mean_squares(returned, wanted)

    @abc.abstractmethod
    def run(self, module: nn.Module, *, full: bool = False) -> Outputs:
        """Run `module` on the evaluation data; differentiable if ``full`` is False and grad is enabled.

        ``full`` adds outputs that only the full report needs (generated text, more samples).
        The noise is the same in every call.
        """

    @abc.abstractmethod
    def score(self, outputs: Outputs, reference: Outputs, *, full: bool = False) -> list[Samples]:
        """Metrics of `outputs`, the deciding one first; `reference`: the float network's outputs of the same call.

        ``full`` requires outputs of ``run(full=True)``.
        """

    def batches(
        self, module: nn.Module, *, full: bool = False, only: Collection[int] | None = None
    ) -> Iterator[Outputs]:
        """`run` in parts that `scored` takes one by one, so that the outputs of all need not be held at once.

        only: numbers of the parts to run, for a look at some of them; None: all.
        """
        yield self.run(module, full=full)

    def batch_count(self) -> int:
        """How many parts `batches` has."""
        return 1

    def scored(self, outputs: Iterable[Outputs], reference: Iterable[Outputs], *, full: bool = False) -> list[Samples]:
        """`score` of the parts of `batches`."""
        (ours,), (floats,) = outputs, reference
        return self.score(ours, floats, full=full)

    @abc.abstractmethod
    def probe(self, outputs: Outputs, generator: torch.Generator) -> Tensor:
        """A random scalar v . y of the outputs y, where E[v v^T] is the curvature of the deciding metric.

        Then E[(gradient . delta)^2] estimates the raw metric after a small change delta. v is a Rademacher vector for a
        squared error, and the score of a sampled label for a KL divergence.
        """

    @abc.abstractmethod
    def workload(self) -> Workload:
        """The workload of one result (one image, one message)."""

    @abc.abstractmethod
    def data_arrays(self) -> Iterable[np.ndarray]:
        """Calibration and evaluation data, which `fingerprint` hashes."""

    def shared_samples(self) -> int:
        """Evaluation samples that are calibration samples too; qualities on them flatter what calibration found."""
        return 0

    def examples(self, outputs: Outputs, *, reference: bool = False) -> dict[str, list[Example]]:
        """Examples to show, from outputs of ``run(full=True)``; {} if there are none.

        Key ``output``: the network's outputs; with ``reference`` also those of the task, such as ``input`` and
        ``truth``, in the same order.
        """
        return {}

    def sample_count(self) -> int:
        """How many samples the deciding metric has; 0 if `some` cannot take them apart."""
        return 0

    def some(self, rows: Sequence[int]) -> Task | None:
        """The same network with some evaluation samples only; None if they cannot be taken apart.

        rows: of the ``Samples.values`` of the deciding metric, ascending.
        """
        return None

    def part(self) -> Part | None:
        """About a third of the deciding samples, to reject hopeless assignments early; None if all are needed."""
        return None

    def raw(self, value: float) -> float:
        """The value of the deciding metric on the raw scale (10**value for log10), which `probe` estimates."""
        return value if self.scale == "raw" else float(10.0 ** min(value / _DECADES[self.scale], MOST_DECADES))

    def from_raw(self, raw: float) -> float:
        """Inverse of `raw`; losses below `LEAST_RAW` are clamped on a logarithmic scale."""
        return raw if self.scale == "raw" else _DECADES[self.scale] * math.log10(max(raw, LEAST_RAW))

    def fingerprint(self) -> str:
        """Hash of network, data, seed and metric, under which results may be reused."""
        if self.identity:
            return self.identity
        h = hashlib.sha256(f"{self.name}|{self.deciding}|{self.scale}|{self.seed}".encode())
        for name, tensor in weights_of(self.module):
            h.update(name.encode())
            if not isinstance(tensor, Tensor):  # a module's extra state
                h.update(repr(tensor).encode())
                continue
            h.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        h.update(self.data_fingerprint().encode())
        return h.hexdigest()[:24]

    def facts(self) -> dict[str, str]:
        """What `fingerprint` and `code` are made of, to name what differs: data, metric, seed, code, else weights."""
        return {
            "seed": str(self.seed),
            "data": self.data_fingerprint(),
            "metric": f"{self.deciding} ({self.scale})",
            "code": self.code,
            "fingerprint": self.fingerprint(),
        }

    def data_fingerprint(self) -> str:
        """Hash of calibration and evaluation data and of the seed; losses compare only if it is equal."""
        h = hashlib.sha256(str(self.seed).encode())
        for array in self.data_arrays():
            h.update(str(array.shape).encode())
            h.update(np.ascontiguousarray(array).tobytes())
        return h.hexdigest()[:24]
