"""`Evaluator(task)(assignment) -> Quality`: the loss of a network under an Assignment."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.formats import Assignment
from codesign.models.streaming import weights_of
from codesign.models.task import Outputs, Part, Task
from codesign.quality.cache import ResultCache, identity_of
from codesign.quality.measure import DRAWS, Quality, UnmeasurableError, measure
from codesign.quality.quantized import QuantizedNetwork, opened
from codesign.quality.ranges import Ranges, check_rule
from codesign.quality.rounding import ChosenWeights
from codesign.quality.weights import digest_of, with_weights
from codesign.terms import DEFAULT_RULE, RangeRule


class Evaluator:
    """Measures the quality of a task's network under assignments.

    Calibration runs at first use. cache: folder for results on disk, none if None. ranges: the rule for activation
    ranges, see `Ranges`. weights: what the quantized network has in place of the parameters of these names, where they
    were tuned; the reference stays the task's own network.

    Raises InputError if the network's weights hold NaN or infinity, the rule is unknown, or `weights` do not fit.
    """

    def __init__(
        self,
        task: Task,
        *,
        cache: Path | None = None,
        ranges: RangeRule = DEFAULT_RULE,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        check_finite(task)
        self.task = task
        self.quantized = task if weights is None else with_weights(task, weights)  # whose network is quantized
        self.ranges = check_rule(ranges)
        self.layers = task.workload().layer_kinds()
        identity = identity_of(task) | {"ranges": ranges}
        if weights is not None:
            identity["weights"] = digest_of(weights)
        self.cache = ResultCache(cache, identity) if cache is not None else None
        self.chosen = ChosenWeights(self.quantized, cache / "weights" if cache is not None else None, identity)
        self.part = task.part()
        self.measured = 0  # evaluations that were run, not read from the cache
        self._references: dict[bool, list[Outputs]] = {}
        self._part_reference: list[Outputs] | None = None

    @functools.cached_property
    def network(self) -> QuantizedNetwork:
        """The network with calibrated ranges; created at first use: a resumed study may find all results cached."""
        ranges = Ranges(self.quantized, self.ranges, self.cache)
        return QuantizedNetwork(self.quantized.module, ranges, self.task.kept_bytes, self.chosen)

    def __call__(self, assignment: Assignment, *, enough: float | None = None) -> Quality:
        """The deciding metric; with `enough`, on the task's `Part` only if its value there exceeds `enough`."""
        if enough is not None and self.part is not None:
            quality = self._of_part(assignment, self.part)
            if quality.value > enough:
                return quality
        return self._qualities(assignment, full=False)[0]

    def again(self, assignment: Assignment) -> Quality:
        """The deciding metric, measured again without the cache."""
        return self._measured(assignment, full=False)[0]

    def metrics(self, assignment: Assignment) -> list[Quality]:
        """All metrics of the task with their intervals, the deciding one first.

        If the task has no other metric, a cached value of the deciding one is used.
        """
        if self.task.more_when_full:
            return self._qualities(assignment, full=True)
        return [replace(q, part=None, draws=()) for q in self._qualities(assignment, full=False)]

    def float_quality(self) -> Quality:
        """The deciding metric of the float network: its outputs scored against themselves.

        Raises UnmeasurableError if it is not finite.
        """
        return measure(self.task.scored(self.reference(), self.reference())[0], draws=DRAWS)

    def float_metrics(self) -> list[Quality]:
        """All metrics of the float network."""
        reference = self.reference(full=True)
        return [measure(s) for s in self.task.scored(reference, reference, full=True)]

    def outputs(self, assignment: Assignment, *, full: bool = False) -> Outputs:
        """Outputs of the network under `assignment`, of all batches; raises InputError as `check` does."""
        self.check(assignment)
        with torch.no_grad(), self.network.under(assignment) as module:
            return self.task.run(module, full=full)

    def batches(self, assignment: Assignment, *, full: bool = False, task: Task | None = None) -> Iterator[Outputs]:
        """`outputs` batch by batch; task: the one that runs, if it is a part of this evaluator's."""
        self.check(assignment)
        yield from steps(lambda: self.network.under(assignment), task or self.task, self.quantized.module, full)

    def reference(self, *, full: bool = False) -> list[Outputs]:
        """Outputs of the float network for every batch, computed once, by the same kernels as the quantized network."""
        full = full and self.task.more_when_full
        if full not in self._references:
            self._references[full] = list(self._floating(self.task, full=full))
        return self._references[full]

    def reference_again(self) -> Iterator[Outputs]:
        """The float network run once more."""
        return self._floating(self.task)

    def _floating(self, task: Task, *, full: bool = False) -> Iterator[Outputs]:
        yield from steps(lambda: opened(task.module), task, task.module, full)

    def check(self, assignment: Assignment) -> None:
        """Raise InputError unless `assignment` covers exactly this network's layers, with known formats."""
        for layer, formats in assignment.layers:
            if layer not in self.layers:
                raise InputError(f"{self.task.name}: no layer '{layer}'{nearest(layer, self.layers)}")
            attention = self.layers[layer] == "attention"
            for kind in ("attention_qk", "attention_pv") if attention else ("linear",):
                try:
                    pair = formats.pair(kind)
                except ValueError:
                    wanted = "activation, key and value" if attention else "weight and activation"
                    raise InputError(f"{self.task.name}: layer '{layer}' needs formats for {wanted}") from None
                pair.checked()
        missing = [layer for layer in self.layers if layer not in dict(assignment.layers)]
        if missing:
            raise InputError(f"{self.task.name}: the assignment lacks {len(missing)} layers, first '{missing[0]}'")

    def _of_part(self, assignment: Assignment, part: Part) -> Quality:
        digest = assignment.digest()
        stored = self.cache.get(digest, "part") if self.cache is not None else None
        if stored is not None:
            return Quality.from_dict(stored)
        if self._part_reference is None:
            self._part_reference = list(self._floating(part.task))
        outputs = self.batches(assignment, task=part.task)
        quality = measure(part.task.scored(outputs, self._part_reference)[0])
        quality = replace(quality, part=quality.value, of_part=True)
        self.measured += 1
        if self.cache is not None:
            self.cache.put(digest, "part", quality.to_dict())
        return quality

    def _qualities(self, assignment: Assignment, *, full: bool) -> list[Quality]:
        digest, kind = assignment.digest(), "full" if full else "deciding"
        if self.cache is not None:
            stored = self.cache.get(digest, kind)
            if stored is not None:
                return [Quality.from_dict(q) for q in stored]
        qualities = self._measured(assignment, full=full)
        if self.cache is not None:
            self.cache.put(digest, kind, [q.to_dict() for q in qualities])
        return qualities

    def _measured(self, assignment: Assignment, *, full: bool) -> list[Quality]:
        try:
            return self._measured_now(assignment, full=full)
        except UnmeasurableError as error:
            raise UnmeasurableError(f"{self.task.name}: {error}") from None

    def _measured_now(self, assignment: Assignment, *, full: bool) -> list[Quality]:
        reference = self.reference(full=full)
        samples = self.task.scored(self.batches(assignment, full=full), reference, full=full)
        if full:
            base = {s.name: s for s in self.task.scored(reference, reference, full=True)}
            qualities = [measure(s, base[s.name] if s.name != self.task.deciding else None) for s in samples]
        else:
            qualities = [measure(samples[0], draws=DRAWS)]
            if self.part is not None:
                of_part = float(samples[0].reduce(np.asarray(samples[0].values)[self.part.rows]))
                qualities = [replace(qualities[0], part=of_part)]
        self.measured += 1
        return qualities


def steps(
    context: Callable[[], AbstractContextManager[object]], task: Task, module: nn.Module, full: bool
) -> Iterator[Outputs]:
    """Outputs of a module on a task's batches, each computed within the context; between them it is left."""
    steps = task.batches(module, full=full)
    while True:
        with torch.no_grad(), context():
            outputs = next(steps, None)
        if outputs is None:
            return
        yield outputs


def check_finite(task: Task) -> None:
    """Raise InputError naming the first tensor of the network that holds NaN or infinity."""
    for name, tensor in weights_of(task.module):
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"{task.name}: weight '{name}' holds NaN or infinity")
