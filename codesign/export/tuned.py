"""Tuned networks of a design as a folder: their weights, their assignments, and what was measured before and after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, TypeAdapter
from safetensors.torch import save
from torch import Tensor

from codesign.designs.design import Metric
from codesign.designs.types import Amount, AssignmentField, Count, JsonModel, Positive, Text
from codesign.errors import InputError, nearest
from codesign.export.study import ChosenDesign
from codesign.files import write_atomic
from codesign.jsonio import checked, read_json
from codesign.quality import Evaluator
from codesign.quality.cache import code_version
from codesign.quality.tuning import Options, Tuned, tune
from codesign.quality.weights import digest_of, read_weights

SCHEMA_VERSION = 1
TUNED = "tuned.json"

Progress = Callable[[str, int, int, str], None]  # (stage, done, total, detail)


class TunedTask(JsonModel):
    """What was found for one network of a design."""

    improved: bool  # whether better weights were found; otherwise they are those of the float network
    before: Metric  # the deciding metric on the evaluation data
    after: Metric
    held_out_before: Amount  # the loss of the tuning on samples that were held out of it
    held_out_after: Amount
    weights: Text  # digest of the tensors in <task>.safetensors
    assignment: Annotated[AssignmentField, Field(description="formats of the design; tuned weights are nearest")]
    ranges: Text  # rule that clips its activations
    steps: Count
    seconds: Amount
    stopped: bool  # by Ctrl-C, before its end
    seed: Count
    learning_rate: Positive
    data: Text  # hash of what it was tuned on
    fingerprint: Text  # of the float network and its data
    code_version: Text
    torch: Text


class TunedDesign(JsonModel):
    """tuned.json: the tuned networks of a design."""

    schema_version: Literal[1]
    tuned: Literal[True]
    study: Text
    design: Text
    tasks: dict[str, TunedTask]


@dataclass(frozen=True)
class TunedNetwork:
    """A tuned network, as `codesign evaluate --weights` takes it."""

    facts: TunedTask
    weights: Mapping[str, Tensor]  # by the names of the module's parameters


_FORM = TypeAdapter(TunedDesign)


def tune_design(
    design: ChosenDesign, folder: Path, options: Options, progress: Progress, task: str | None = None
) -> tuple[TunedDesign, KeyboardInterrupt | None]:
    """Tune the networks of a design, or one of them, and write each to `folder` when it is done.

    What `folder` holds of other networks of the design is kept. Returns what is in tuned.json then, and what stopped
    the tuning early; networks after that one are not tuned.

    Raises:
        InputError: an unknown task, a network that cannot be tuned, or a folder of another design.
        EnvironmentProblem: the folder cannot be written.
    """
    if task is not None and task not in design.assignments:
        raise InputError(f"{design.id} has no task '{task}'{nearest(task, design.assignments)}")
    found = _begun(design, folder)
    for name in [task] if task else design.assignments:
        loaded = design.load(name)
        evaluator = Evaluator(loaded, ranges=design.ranges[name])
        tuned = tune(evaluator, design.assignments[name], options, progress)
        facts = _facts(tuned, evaluator, options)
        found = found.model_copy(update={"tasks": found.tasks | {name: facts}})
        _write(folder, name, tuned, found)
        if tuned.stopped is not None:
            return found, tuned.stopped
    return found, None


def read_tuned(folder: Path) -> dict[str, TunedNetwork]:
    """The tuned networks of a folder, by task; `Evaluator(task, weights=...)` measures them.

    Raises InputError if a file is missing or damaged, or weights are not those that were measured.
    """
    written = checked(folder / TUNED, read_json(folder / TUNED), _FORM)
    found = {}
    for name, facts in written.tasks.items():
        path = folder / f"{name}.safetensors"
        weights = read_weights(path)
        if digest_of(weights) != facts.weights:
            raise InputError(f"{path}: not the weights that {folder / TUNED} measured")
        found[name] = TunedNetwork(facts, weights)
    return found


def _begun(design: ChosenDesign, folder: Path) -> TunedDesign:
    path = folder / TUNED
    if not path.exists():
        return TunedDesign(schema_version=1, tuned=True, study=design.study, design=design.id, tasks={})
    found = checked(path, read_json(path), _FORM)
    if found.design != design.id:
        raise InputError(f"{path}: of design {found.design}, not {design.id}; give a new folder as --out")
    return found


def _facts(tuned: Tuned, evaluator: Evaluator, options: Options) -> TunedTask:
    return TunedTask(
        improved=tuned.improved,
        before=Metric.of(tuned.before),
        after=Metric.of(tuned.after),
        held_out_before=tuned.held_out_before,
        held_out_after=tuned.held_out_after,
        weights=digest_of(tuned.weights),
        assignment=tuned.assignment,
        ranges=evaluator.ranges,
        steps=tuned.steps,
        seconds=tuned.seconds,
        stopped=tuned.stopped is not None,
        seed=options.seed,
        learning_rate=options.rate,
        data=tuned.data,
        fingerprint=evaluator.task.fingerprint(),
        code_version=code_version(),
        torch=torch.__version__,
    )


def _write(folder: Path, name: str, tuned: Tuned, found: TunedDesign) -> None:
    """Write the weights and the assignment, then tuned.json, so that what it lists is complete."""
    weights = {key: weight.contiguous() for key, weight in tuned.weights.items()}
    write_atomic(folder / f"{name}.safetensors", save(weights, metadata={"tuned": "true"}))
    write_atomic(folder / f"{name}.json", json.dumps(tuned.assignment.to_dict(), indent=1) + "\n")
    write_atomic(folder / TUNED, json.dumps(found.model_dump(mode="json", exclude_none=True), indent=1) + "\n")
