"""`CustomTask`: the task of anybody's network, data and metrics."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.models.batches import Batch, Batches, arrays, lengths, samples
from codesign.models.batches import rows as rows_of
from codesign.models.distances import divergence, mean_squares
from codesign.models.losses import Function, Loss, Metric, spans_decades, squared_error
from codesign.models.task import Example, Outputs, Part, Samples, Task
from codesign.terms import Scale
from codesign.workload import Workload, trace
from codesign.workload.completeness import Unseen
from codesign.workload.tracing import averaged

__all__ = ["Batch", "CustomTask", "Loss", "Metric"]

_LEAST_WHOLE = 24  # smallest number of samples for which a part is informative
Forward = Callable[[nn.Module, Any], Any]


class CustomTask(Task):
    """The task of a module, data and metrics.

    Args:
        name: its name in the study.
        module: the trained network; it is put in eval mode.
        calibration, evaluation: inputs of the module: a tensor, a tuple of arguments or a dict of keyword arguments,
            with samples along the first axis; or batches of such inputs, see `Batches`, of which one at a time is run.
        metric: the loss that decides, as a function of outputs and float outputs of a batch (and of its labels) or as
            a `Loss`; None for the squared error against the float output.
        more: further metrics, which `codesign evaluate` and reports show.
        forward: ``forward(module, inputs)`` instead of ``module(inputs)``: a sampler of many passes, a method. torch's
            generator is seeded anew in each call, so that noise is the same in every evaluation.
        output: which part of what the module returns is scored, such as ``logits``, ``0`` or ``hidden.last``; without
            it, the only floating-point tensor there is.
        work: ``work(task)``: the `Workload` of one result; by default the trace of a call with the first sample.
        show: ``show(outputs, reference)``: examples of the first batch, see `Task.examples`.
    """

    seed = 0
    unseen: Unseen = "refuse"  # what to do where many weights enter no product

    def __init__(
        self,
        name: str,
        module: nn.Module,
        calibration: Any,
        evaluation: Any,
        metric: Function | Loss | None = None,
        *,
        more: Sequence[Metric] = (),
        forward: Forward | None = None,
        output: str = "",
        work: Callable[[CustomTask], Workload] | None = None,
        show: Callable[[Outputs, bool], dict[str, list[Example]]] | None = None,
    ) -> None:
        self.name = name
        self.module = _evaluating(module)
        self.loss = metric if isinstance(metric, Loss) else Loss(metric or squared_error)
        self.more = tuple(more)
        self.more_when_full = bool(more)
        self.deciding = self.loss.name or getattr(self.loss.function, "__name__", "loss")
        self.output = output
        self._calibration, self._evaluation = calibration, evaluation
        self._forward, self._work, self._show = forward, work, show
        self.device: torch.device | None = None

    # ---- data --------------------------------------------------------------------------------

    @property
    def calibration(self) -> Batches:
        """The batches that find ranges and round weights."""
        return Batches(self._calibration, self.device)

    @property
    def evaluation(self) -> Batches:
        """The batches on which quality is measured."""
        return Batches(self._evaluation, self.device)

    def to(self, device: torch.device | str) -> CustomTask:
        """The task, whose network and data run on a device."""
        self.device = torch.device(device)
        self.module.to(self.device)
        return self

    def data_arrays(self) -> Iterable[np.ndarray]:
        """Inputs and labels, and data that the metric closes over."""
        for batch in (*self.calibration, *self.evaluation):
            yield from arrays((batch.inputs, batch.labels))
        yield from arrays(_held(self.loss.function))

    def shared_samples(self) -> int:
        """Evaluation samples whose inputs are those of calibration samples."""
        known = set(samples(self.calibration))
        return sum(each in known for each in samples(self.evaluation))

    # ---- running -----------------------------------------------------------------------------

    def calibrate(self, module: nn.Module) -> None:
        for place, batch in enumerate(self.calibration):
            self.call(module, batch.inputs, place)

    def call(self, module: nn.Module, inputs: Any, place: int = 0) -> Any:
        """What the network returns for the inputs of one batch, the `place`-th."""
        if self._forward is None:
            return call(module, inputs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + place)
            return self._forward(module, inputs)

    def batches(
        self, module: nn.Module, *, full: bool = False, only: Collection[int] | None = None
    ) -> Iterator[Outputs]:
        for place, batch in enumerate(self.evaluation):
            if only is not None and place not in only:
                continue
            yield {"output": self._scored(self.call(module, batch.inputs, place))}

    def batch_count(self) -> int:
        return sum(1 for _ in self.evaluation)

    def run(self, module: nn.Module, *, full: bool = False) -> Outputs:
        """The outputs of all batches; samples of other sizes are padded by zeros."""
        found = [outputs["output"] for outputs in self.batches(module, full=full)]
        return {"output": found[0] if len(found) == 1 else torch.cat(_padded(found))}

    def _scored(self, returned: Any) -> Tensor:
        found = chosen(self.name, returned, self.output)
        if not found.ndim:
            raise InputError(f"{self.name}: the module returns a single number, expected a row per sample")
        return found

    # ---- scoring -----------------------------------------------------------------------------

    @functools.cached_property
    def scale(self) -> Scale:  # type: ignore[override]  # found when it is first asked for
        """That of the loss; where it names none, found on the first batch."""
        return self.loss.scale or self.found_scale()

    def found_scale(self) -> Scale:
        """The scale that suits the loss, by its values on the float outputs of the first batch."""
        with torch.no_grad():
            output = next(iter(self.batches(self.module)))["output"]
            return "log10" if spans_decades(self.loss, output, self.evaluation.first().labels) else "raw"

    @property
    def unit(self) -> str:  # type: ignore[override]  # as `scale`
        if self.loss.scale is None and self.scale == "log10":
            return f"log10 {self.loss.unit}".strip()
        return self.loss.unit

    def score(self, outputs: Outputs, reference: Outputs, *, full: bool = False) -> list[Samples]:
        return self.scored([outputs], [reference], full=full)

    def scored(self, outputs: Iterable[Outputs], reference: Iterable[Outputs], *, full: bool = False) -> list[Samples]:
        found: list[list[np.ndarray]] = [[] for _ in range(1 + len(self.more) * full)]
        for batch, ours, floats in zip(self.evaluation, outputs, reference, strict=False):
            metrics: list[Loss | Metric] = [self.loss, *(self.more if full else ())]
            for each, metric in zip(found, metrics, strict=True):
                each.append(self._values(metric, batch, ours["output"], floats["output"]))
        losses, *others = (np.concatenate(values) for values in found)
        samples = [Samples(self.deciding, self.unit, "minimize", losses, self._reduce)]
        for metric, values in zip(self.more, others, strict=False):
            name = metric.name or getattr(metric.function, "__name__", "metric")
            samples.append(Samples(name, metric.unit, metric.direction, values, metric.reduce))
        return samples

    def _values(self, metric: Loss | Metric, batch: Batch, outputs: Tensor, reference: Tensor) -> np.ndarray:
        with torch.no_grad():
            found = metric(outputs, reference, batch.labels)
        try:
            values = torch.as_tensor(found).detach().double().cpu().numpy()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{self.name}: the metric returns {type(found).__name__}, no tensor: {error}") from None
        count = self._samples(batch, outputs)
        if values.shape[:1] != (count,) or (values.ndim > 1 and isinstance(metric, Loss)):
            raise InputError(
                f"{self.name}: the metric returns shape {list(values.shape)}, expected one loss for each of "
                f"{count} samples"
            )
        if isinstance(metric, Loss) and self.loss.scale not in (None, "raw"):
            values = np.maximum(values, self.from_raw(0.0))
        return values

    def _reduce(self, values: np.ndarray) -> float:
        if self.loss.reduce is not None:
            return float(self.loss.reduce(values))
        mean = float(values.mean())
        return self.from_raw(mean) if self.loss.scale is None and self.scale != "raw" else mean

    def _samples(self, batch: Batch, output: Tensor | None = None) -> int:
        """Samples of a batch: where its tensors have several lengths, the one of the output."""
        found = lengths(batch.inputs)
        if len(found) > 1:
            if output is None:
                with torch.no_grad(), contextlib.suppress(InputError):
                    output = self._scored(self.call(self.module, batch.inputs))
            if output is not None and output.ndim and len(output) in found:
                return len(output)
        if not found and output is not None:
            return len(output)
        return found[0]

    def probe(self, outputs: Outputs, generator: torch.Generator) -> Tensor:
        """The probe that the loss names; that of a squared error is a usable ranking of layers for other losses."""
        return self.loss.backpropagated(outputs["output"], generator)

    def distance(self, returned: Any, wanted: Any) -> Tensor:
        """Of the scored output where calls of the module return it, else of all; KL where the loss's probe is one."""
        if self._forward is None:
            returned, wanted = (chosen(self.name, each, self.output) for each in (returned, wanted))
            if self.loss.probe == "kl":
                return divergence(returned, wanted)
        return mean_squares(returned, wanted)

    def part(self) -> Part | None:
        """The first third of the samples; None with a loss that may close over labels of all samples."""
        counted = self._counted()
        total = sum(count for _, count in counted)
        if not counted or total < _LEAST_WHOLE:
            return None
        return Part(self._taken(counted, range(total // 3)), np.arange(total // 3), total // 3 / total)

    def sample_count(self) -> int:
        """Samples of all batches; 0 of a single one with a loss that may close over labels of all its samples."""
        return sum(count for _, count in self._counted())

    def some(self, rows: Sequence[int]) -> CustomTask | None:
        counted = self._counted()
        return self._taken(counted, rows) if counted else None

    def _counted(self) -> list[tuple[Batch, int]]:
        """Batches with their samples, for which the network may have to run; none if they cannot be taken apart."""
        batches = list(self.evaluation)
        if len(batches) == 1 and self.loss.function is not squared_error:
            return []
        return [(batch, self._samples(batch)) for batch in batches]

    def _taken(self, counted: Sequence[tuple[Batch, int]], rows: Sequence[int]) -> CustomTask:
        wanted, before, taken = torch.tensor(rows), 0, list[Batch]()
        for batch, count in counted:
            own = wanted[(wanted >= before) & (wanted < before + count)] - before
            before += count
            if len(own):
                taken.append(Batch(*(rows_of(each, own, count) for each in (batch.inputs, batch.labels))))
        return self._with(taken)

    def _with(self, evaluation: list[Batch]) -> CustomTask:
        """The same task with other evaluation data, scored on the same scale."""
        loss = self.loss
        smaller = CustomTask(
            self.name, self.module, self._calibration, evaluation, loss, forward=self._forward, output=self.output
        )
        smaller.__dict__["scale"] = self.scale
        smaller.device = self.device
        return smaller

    # ---- what is shown -----------------------------------------------------------------------

    def workload(self) -> Workload:
        """The workload of one result: by default of a call with one sample.

        If the first sample leaves weights unused (experts to which it is not routed), the mean over the first batch.
        """
        if self._work is not None:
            return self._work(self)
        batch = self.evaluation.first()
        count = self._samples(batch)
        first = self._traced(rows_of(batch.inputs, slice(1), count), "warn")
        if not first.unread:
            return first
        whole = self._traced(batch.inputs, self.unseen)
        return averaged(whole, count) if set(whole.layers) - set(first.layers) else first

    def _traced(self, inputs: Any, unseen: Unseen) -> Workload:
        forward = None if self._forward is None else self.call
        return trace(self.module, inputs, name=self.name, unseen=unseen, forward=forward)

    def examples(self, outputs: Outputs, *, reference: bool = False) -> dict[str, list[Example]]:
        return {} if self._show is None else self._show(outputs, reference)


def call(module: nn.Module, inputs: Any) -> Any:
    """Call a module with a tensor, a sequence of arguments or a mapping of keyword arguments."""
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs) if isinstance(inputs, (tuple, list)) else module(inputs)


def chosen(name: str, returned: Any, path: str) -> Tensor:
    """The tensor at `path`, such as ``logits`` or ``0.hidden``, in what a module returns; '' for the only one."""
    found = returned
    for step in path.split(".") if path else ():
        found = _step(name, found, step, path)
    if isinstance(found, Tensor):
        return found
    named = _named(found)
    floats = {key: leaf for key, leaf in named.items() if leaf.is_floating_point()}
    if not path and len(floats) == 1:
        return next(iter(floats.values()))
    some = ", ".join(list(named)[:8])
    what = type(found).__name__
    raise InputError(
        f"{name}: the module returns {what}, expected one tensor: say which with 'output'"
        + (f" (one of: {some})" if named else "")
    )


def _step(name: str, found: Any, step: str, path: str) -> Any:
    if isinstance(found, Mapping) and step in found:
        return found[step]
    if isinstance(found, (tuple, list)) and step.lstrip("-").isdigit() and -len(found) <= int(step) < len(found):
        return found[int(step)]
    if step and not step.startswith("_") and hasattr(found, step) and not isinstance(found, Tensor):
        return getattr(found, step)
    raise InputError(f"{name}: what the module returns has no '{path}'{nearest(path, list(_named(found)))}")


def _named(found: Any, prefix: str = "") -> dict[str, Tensor]:
    """The tensors in nested mappings and sequences, by path."""
    if isinstance(found, Tensor):
        return {prefix.removesuffix("."): found}
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(found, Mapping):
        items = found.items()
    elif isinstance(found, (tuple, list)):
        items = enumerate(found)
    elif not prefix:  # an object with attributes
        items = getattr(found, "__dict__", {}).items()
    tensors: dict[str, Tensor] = {}
    for key, value in items:
        tensors |= _named(value, f"{prefix}{key}.")
    return tensors


def _padded(found: list[Tensor]) -> list[Tensor]:
    """Outputs of several batches with equal sizes after the first axis."""
    sizes = [max(each) for each in zip(*(x.shape[1:] for x in found), strict=True)]
    wide = [x.new_zeros((len(x), *sizes)) for x in found]
    for to, x in zip(wide, found, strict=True):
        to[tuple(slice(size) for size in x.shape)] = x
    return wide


def _held(metric: Any) -> list[Any]:
    """Data held by a metric: in its closure, defaults or partial arguments."""
    if isinstance(metric, functools.partial):
        return [*metric.args, *metric.keywords.values(), *_held(metric.func)]
    held = [*(getattr(metric, "__defaults__", None) or ()), *(getattr(metric, "__kwdefaults__", None) or {}).values()]
    for cell in getattr(metric, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # an unset variable of the closure
            held.append(cell.cell_contents)
    return [item for item in held if isinstance(item, (Tensor, np.ndarray, list, tuple, dict))]


def _evaluating(module: nn.Module) -> nn.Module:
    """The module in eval mode; a program of torch.export, which refuses to be put there, stays as it was exported."""
    try:
        return module.eval()
    except NotImplementedError:  # of torch.export's programs: they say by this that they have no modes
        for inner in module.modules():
            inner.training = False
        return module
