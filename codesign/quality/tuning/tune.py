"""`tune`: weights that lose less under an Assignment than those that the float network has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.formats import Assignment, get_format
from codesign.formats.assignment import NEAREST
from codesign.models.task import Task
from codesign.quality.evaluator import Evaluator
from codesign.quality.gradients import differentiable
from codesign.quality.measure import Quality
from codesign.quality.quantized import QuantizedNetwork
from codesign.quality.tuning.samples import Samples
from codesign.quality.tuning.straight import TrainedNetwork
from codesign.quality.weights import with_weights
from codesign.workload import Product, ProductInterceptor

BATCH = 8  # samples of a step
_LOOKS = 10  # times that the held-out samples are looked at
_WARMUP, _COLD = 0.05, 0.005  # share of the training in which the rate grows, and with which it begins to
_NORM = 1.0  # largest norm of the gradient
_BETAS = (0.9, 0.99)

Progress = Callable[[str, int, int, str], None]  # (stage, done, total, detail)


@dataclass(frozen=True)
class Options:
    """How long and how fast weights are tuned."""

    steps: int = 200
    seconds: float | None = None  # in place of `steps`: the time that may pass
    # of Adam, times the root mean square of each weight, as formats round in proportion to it
    rate: float = 0.003
    seed: int = 0

    @property
    def total(self) -> int:
        """Steps, or percent of the time."""
        return self.steps if self.seconds is None else 100


@dataclass(frozen=True)
class Tuned:
    """Tuned weights of a network under an Assignment."""

    weights: Mapping[str, Tensor]  # by the names of the module's parameters
    assignment: Assignment  # the formats of before; where weights were tuned, they are rounded to the nearest
    before: Quality  # of the deciding metric on the evaluation data
    after: Quality
    held_out_before: float  # `Task.distance` on the samples of the calibration data that were not trained on
    held_out_after: float  # never larger
    steps: int
    seconds: float
    data: str  # hash of what was tuned on
    stopped: KeyboardInterrupt | None  # what ended it early

    @property
    def improved(self) -> bool:
        """Whether better weights were found; otherwise they are those of before."""
        return self.held_out_after < self.held_out_before


def tune(evaluator: Evaluator, assignment: Assignment, options: Options, progress: Progress) -> Tuned:
    """Train the weights of a network under an Assignment to return what the float network returns.

    The forward pass is that of the quantized network, gradients pass its rounding (`TrainedNetwork`); the loss is
    `Task.distance` on what `Task.practise` runs, a fifth of which is held out and chooses the best weights. Weights
    that a method rounds (clip, gptq) begin as what it makes of them, and are rounded to the nearest from there: their
    scales follow them by the format's own rule. With one thread and `steps`, the same seed gives the same weights. A
    KeyboardInterrupt ends the training; the best weights so far are returned.

    Raises InputError where a network cannot be tuned: its weights are not float32 or are read block by block, its calls
    cannot be made again, or no gradient reaches its weights.
    """
    task = evaluator.task
    evaluator.check(assignment)
    student = with_weights(task, {})  # refuses a streamed network before anything is run
    _check_float32(task)
    stage = f"tune {task.name}"
    progress(f"read {task.name}", 0, 1, "running the float network on what it is tuned on")
    samples = Samples.of(task)
    before = evaluator(assignment)
    held_out_before = _mean_distance(task, samples, evaluator.network, assignment)
    progress(f"read {task.name}", 1, 1, "")
    nearest = to_nearest(assignment)
    _begin(evaluator, assignment, student.module)
    training = _Training(TrainedNetwork(student.module, evaluator.network.ranges), nearest, task, samples, options)
    evaluator.network.forget()  # makes room for the graph of a batch
    began = time.monotonic()
    stopped: KeyboardInterrupt | None = None
    try:
        training.run(lambda done, detail: progress(stage, done, options.total, detail))
    except KeyboardInterrupt as stop:
        stopped = stop
    seconds = time.monotonic() - began
    own = {name: parameter.detach().clone() for name, parameter in task.module.named_parameters()}
    tuned = Evaluator(task, ranges=evaluator.ranges, weights=training.best)
    held_out = _mean_distance(task, samples, tuned.network, nearest)  # with ranges of the new weights
    facts = (training.step, seconds, samples.data, stopped)
    if not held_out < held_out_before:
        return Tuned(own, assignment, before, before, held_out_before, held_out_before, *facts)
    return Tuned(training.best, nearest, before, tuned(nearest), held_out_before, held_out, *facts)


def to_nearest(assignment: Assignment) -> Assignment:
    """The same formats, every weight rounded to the nearest."""
    return Assignment.of({layer: replace(formats, method=NEAREST) for layer, formats in assignment.layers})


class _Training:
    """Steps of Adam, and the best weights so far."""

    def __init__(
        self, network: TrainedNetwork, assignment: Assignment, task: Task, samples: Samples, options: Options
    ) -> None:
        self.step = 0
        self._network, self._assignment, self._task, self._samples = network, assignment, task, samples
        self._options = options
        self._generator = torch.Generator().manual_seed(options.seed)
        self._parameters = dict(network.module.requires_grad_().named_parameters())
        groups = _groups(list(self._parameters.values()), options.rate)
        self._optimizer = torch.optim.Adam(groups, betas=_BETAS)
        self._rates = [float(group["lr"]) for group in self._optimizer.param_groups]
        self._least = math.inf
        self.best: dict[str, Tensor] = self._now()

    def run(self, progress: Callable[[int, str], None]) -> None:
        """Train until the steps are done or the time is over; `progress` hears how many of `Options.total` are."""
        began, looks = time.monotonic(), 0
        self._look()
        done = 0.0
        while done < 1:
            self._learn(done)
            self.step += 1
            if self._options.seconds is None:
                done = self.step / self._options.steps
            else:
                done = min(1.0, (time.monotonic() - began) / self._options.seconds)
            if int(done * _LOOKS) > looks:
                looks = int(done * _LOOKS)
                self._look()
            progress(round(done * self._options.total), f"{self._least:.4g} on held-out samples")

    def _learn(self, done: float) -> None:
        """One step; `done`: the share of the training that is over."""
        warm = min(1.0, (done + _COLD) / _WARMUP)
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * min(warm, 0.5 * (1 + math.cos(math.pi * done)))
        call = self._samples.training.drawn(BATCH, self._generator)
        module = self._network.module
        with differentiable(module), self._network.under(self._assignment):
            loss = self._task.distance(call(module), call.returned)
        if not loss.requires_grad:
            raise InputError(f"{self._task.name}: no gradient of the outputs reaches the weights: it cannot be tuned")
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), _NORM)
        if bool(torch.isfinite(norm)):
            self._optimizer.step()

    def _look(self) -> None:
        """Keep the weights if they are the best so far on the held-out samples."""
        found = _mean_distance(self._task, self._samples, self._network, self._assignment)
        if found < self._least:
            self._least = found
            self.best = self._now()

    def _now(self) -> dict[str, Tensor]:
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}


def _mean_distance(task: Task, samples: Samples, network: QuantizedNetwork, assignment: Assignment) -> float:
    """Mean of `Task.distance` over the held-out samples; infinite if it is no number."""
    total = 0.0
    with torch.no_grad(), network.under(assignment) as module:
        for call in samples.held_out.batches(BATCH):
            total += call.count * float(task.distance(call(module), call.returned))
    return total / samples.held_out.count if math.isfinite(total) else math.inf


def _begin(evaluator: Evaluator, assignment: Assignment, module: nn.Module) -> None:
    """Give `module`, a copy of the network, the weights that methods of rounding choose, where they choose any."""
    methods = {layer: formats for layer, formats in assignment.layers if formats.method != NEAREST}
    if not methods:
        return
    network, own, seen = evaluator.network, {id(p): n for n, p in evaluator.task.module.named_parameters()}, set[str]()
    copies = dict(module.named_parameters())

    def observe(product: Product) -> None:
        layer, weight = product.layer, product.stationary
        if layer in seen or layer not in methods or id(weight) not in own:
            return  # a view of a parameter keeps the float values
        seen.add(layer)
        formats = methods[layer]
        found = evaluator.chosen.weight(product, get_format(formats.weight or ""), formats.method)
        if found is not None:
            copies[own[id(weight)]].copy_(found)

    with network.under(assignment):  # finds all weights, in as few runs as memory allows
        pass
    with torch.no_grad(), ProductInterceptor(evaluator.task.module, observe, decompose=True):
        evaluator.task.calibrate(evaluator.task.module)


def _groups(parameters: list[nn.Parameter], rate: float) -> list[dict[str, object]]:
    """Each parameter with a rate in proportion to its root mean square; one of zeros takes the median rate."""
    sizes = [float(parameter.detach().square().mean().sqrt()) for parameter in parameters]
    usual = sorted(size for size in sizes if size > 0)
    middle = usual[len(usual) // 2] if usual else 1.0
    return [{"params": [p], "lr": rate * (size or middle)} for p, size in zip(parameters, sizes, strict=True)]


def _check_float32(task: Task) -> None:
    for name, parameter in task.module.named_parameters():
        if parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise InputError(f"{task.name}: weight '{name}' is {kind}: tuning takes networks in float32")
