"""Resolving a space file: tasks are loaded, layers traced, accelerators enumerated."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair
from codesign.hardware import AcceleratorGrid
from codesign.hardware.arithmetic.overflow import resolved
from codesign.hardware.chip.accelerator import ClockError, all_axes, check_value
from codesign.hardware.chip.files import beside, memory_name
from codesign.hardware.chip.memory_types import is_file
from codesign.hardware.units.mac import MacUnit, StepError
from codesign.hardware.units.unit_model import load_model
from codesign.models.directories import TaskOptions
from codesign.models.preparation import USUAL
from codesign.models.streaming import reads_blocks
from codesign.quality import Evaluator
from codesign.search.space.choices import allowed_choices, possible
from codesign.search.space.cost_metrics import COST_METRICS, cost_metric
from codesign.search.space.fixed import FixedNetwork, resolve_fixed
from codesign.search.space.grammar import Screened, screened
from codesign.search.space.limits import limit_of
from codesign.search.space.loading import load_written
from codesign.search.space.network import Network
from codesign.search.space.objectives import Objective, resolve_objective
from codesign.search.space.sums import check_unit, longest_reductions
from codesign.search.space.targets import target_rules
from codesign.search.space.ties import first, resolve_ties
from codesign.search.space.written import HardwareSpec, SpaceFile
from codesign.terms import DEFAULT_RULE, RangeRule
from codesign.workload import Workload
from codesign.yamlio import line_of, load_yaml, naming

# options of a task without influence on its values, or whose content the task's own fingerprint covers
_NOT_DECIDING = ("data", "calibration", "prompts", "memory_gib")


@dataclass(frozen=True)
class SearchSpace:
    """A resolved space. Either `networks` or `fixed` is empty."""

    spec: SpaceFile  # the file's content
    path: Path
    networks: dict[str, Network]  # networks to measure, in formats to find
    fixed: dict[str, FixedNetwork]  # networks in given formats, which are priced only
    grid: AcceleratorGrid
    pairs: tuple[FormatPair, ...]  # the choices of the layers to measure, or all pairs of the fixed networks
    objectives: tuple[Objective, ...]
    budgets: tuple[tuple[Objective, float], ...]  # with the largest allowed value
    screened: tuple[Screened, ...] = ()  # formats of the grammar that were tried

    @property
    def workloads(self) -> dict[str, Workload]:
        """The workload of each network."""
        return {name: network.workload for name, network in (self.networks | self.fixed).items()}

    @cached_property
    def space_hash(self) -> str:
        """Hash of everything that determines which designs exist and how they compare, besides code."""
        tasks = {name: facts["fingerprint"] for name, facts in self.facts.items()}
        return hashlib.sha256(json.dumps([self.content, tasks], sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def content(self) -> dict[str, Any]:
        """The file's content as JSON, with hashes for the files that it names, without what stands at its default.

        The section `search:` is left out, so that a study can be resumed with more evaluations.
        """
        spec = self.spec.model_dump(mode="json", exclude={"search"})
        for key in ("target", "formats"):
            if not spec[key]:
                del spec[key]
        for task in spec["tasks"].values():
            for key in ("workload", "formats", "assignment", "ties"):  # older spaces without these keys keep their hash
                if not task[key]:
                    del task[key]
            for key, usual in (
                ("ranges", DEFAULT_RULE),
                ("unseen", "refuse"),
                ("attention", ""),
                ("target", ""),
                ("methods", {}),
                ("prepare", [USUAL]),
            ):
                if task[key] == usual:
                    del task[key]
            for key in TaskOptions.model_fields:
                if key in _NOT_DECIDING or not task[key]:
                    del task[key]
        if self.spec.hardware is not None:
            self._hash_hardware(spec["hardware"], self.spec.hardware)
        return spec

    @cached_property
    def facts(self) -> dict[str, dict[str, str]]:
        """What every network is, by name: see `Task.facts`."""
        facts = {name: network.task.facts() for name, network in self.networks.items()}
        return facts | {name: {"fingerprint": network.fingerprint()} for name, network in self.fixed.items()}

    def described(self) -> dict[str, Any]:
        """`content` with the facts of every network, to name what differs between two spaces."""
        return self.content | {"networks": self.facts}

    def _hash_hardware(self, written: dict[str, Any], hardware: HardwareSpec) -> None:
        """Reduce `written` to what the hash depends on."""
        if hardware.unit_model:
            written["unit_model"] = _content(self.path, hardware.unit_model)
        else:
            del written["unit_model"]
        for axis in all_axes().values():
            if axis.name == "node_nm" and len(written[axis.key]) == 1:
                (written[axis.key],) = written[axis.key]  # spaces from before it was an axis keep their hash
            elif axis.default is not None and written[axis.key] == [axis.usual]:
                del written[axis.key]  # older spaces without this axis keep their hash
            elif axis.memory:  # the content of a file counts, not its path
                written[axis.key] = [_content(self.path, name) if is_file(name) else name for name in written[axis.key]]

    def size(self) -> float:
        """log10 of the number of designs: accelerators times assignments."""
        choices = sum(float(np.log10(_choices(n)).sum()) for n in self.networks.values())
        choices += sum(float(np.log10(len(n.assignments))) for n in self.fixed.values())
        return float(np.log10(len(self.grid))) + choices

    def assignments(self) -> dict[str, int]:
        """The number of assignments that can be measured, by network."""
        return {name: math.prod(_choices(network).tolist()) for name, network in self.networks.items()}


def _choices(network: Network) -> np.ndarray:
    """The number of pairs that each layer can have, without layers that follow another one, int [L']."""
    return np.asarray(network.allowed[first(network.groups)].sum(axis=1))


def load_space(path: Path, *, ranges: RangeRule | None = None) -> SearchSpace:
    """Read, validate and resolve a search space.

    What is measured of the formats of a grammar is kept in the user's cache (`user_cache`).

    Args:
        path: the YAML file.
        ranges: rule that clips activations in plain formats, for every measured task and instead of the file's.
    Raises:
        InputError: one line with file, line and key for the first mistake.
    """
    spec = load_yaml(path, SpaceFile)
    if ranges is not None:
        tasks = {name: task.model_copy(update={"ranges": ranges}) for name, task in spec.tasks.items()}
        spec = spec.model_copy(update={"tasks": tasks})
    if spec.hardware is None:
        _refuse_without_hardware(path, spec)
    spec, tried = screened(path, spec)
    sets = spec.chip.units.resolve()
    if not sets:
        raise InputError(f"{path}:{line_of(path, 'hardware', 'units')}: hardware.units names no set of pairs")
    for pair in dict.fromkeys(itertools.chain.from_iterable(sets)):
        with naming(path, "hardware", "units"):
            MacUnit((pair,))
    networks, fixed, pairs = _resolve_tasks(path, spec, sets)
    hw = spec.chip
    for i, accumulator in enumerate(hw.accumulator if spec.hardware is not None else []):
        with naming(path, "hardware", "accumulator", i):
            for pair in itertools.chain.from_iterable(sets):
                resolved(pair, accumulator)
    grid = _grid(path, hw, sets)
    allowed = {n: net.allowed for n, net in networks.items()} | {n: net.allowed(pairs) for n, net in fixed.items()}
    workloads = {n: net.workload for n, net in (networks | fixed).items()}
    reductions = [r for n, workload in workloads.items() for r in longest_reductions(n, workload, pairs, allowed[n])]
    for unit in grid.units if spec.hardware is not None else []:
        with naming(path, "hardware", "accumulator", hw.accumulator.index(unit.accumulator)):
            check_unit(unit, reductions)
    objectives, budgets, units = [], [], {n: net.task.unit for n, net in networks.items()}
    deciding = {n: net.task.deciding for n, net in networks.items()}
    for i, name in enumerate(spec.objectives):
        with naming(path, "objectives", i):
            if name in spec.objectives[:i]:
                raise InputError(f"{name} is listed twice")
            objectives.append(resolve_objective(name, workloads, fixed, units, deciding))
    for name, limit in spec.budgets.items():
        with naming(path, "budgets", name):
            bounded = resolve_objective(name, workloads, fixed, units, deciding)
            budgets.append((bounded, limit_of(bounded, limit, lambda task: _float_quality(networks[task]))))
    return SearchSpace(spec, path, networks, fixed, grid, pairs, tuple(objectives), tuple(budgets), tried)


def _float_quality(network: Network) -> float:
    return Evaluator(network.task, ranges=network.ranges).float_quality().value


def _grid(path: Path, hardware: HardwareSpec, sets: Sequence[tuple[FormatPair, ...]]) -> AcceleratorGrid:
    """The accelerators of the space; raises InputError with the line of a value that is no chip's."""
    ranges, model = _ranges(path, hardware), beside(path, hardware.unit_model)
    if model:
        with naming(path, "hardware", "unit_model"):
            load_model(model)
    try:
        return AcceleratorGrid.from_ranges(pair_sets=sets, unit_model=model, **ranges)
    except InputError as error:
        key = "clock_mhz" if isinstance(error, ClockError) else error.axis if isinstance(error, StepError) else ""
        named = f"hardware.{key}: " if isinstance(error, StepError) else ""
        raise InputError(f"{path}:{line_of(path, 'hardware', key)}: {named}{error}") from None


def _ranges(path: Path, hardware: HardwareSpec) -> dict[str, list[Any]]:
    """The values of every hardware axis; raises InputError with the line of an invalid value."""
    found: dict[str, list[Any]] = {}
    for name, axis in all_axes().items():
        found[name] = []
        for i, written in enumerate(hardware.listed(axis)):
            with naming(path, "hardware", axis.key, i):
                value = axis.value(memory_name(path, axis, written) if axis.memory else written)
                check_value(axis, value)
                if value in found[name]:
                    raise InputError(f"{written} is listed twice")
            found[name].append(value)
    return found


def _content(path: Path, name: str) -> str:
    """Hash of a file beside `path`."""
    return hashlib.sha256(Path(beside(path, name)).read_bytes()).hexdigest()


def _refuse_without_hardware(path: Path, spec: SpaceFile) -> None:
    """Raise InputError if a space without hardware has objectives, budgets or tasks that need it."""
    places: list[tuple[str, int | str, str]] = [("objectives", i, name) for i, name in enumerate(spec.objectives)]
    places += [("budgets", name, name) for name in spec.budgets]
    for key, place, name in places:
        with naming(path, key, place):
            metric = cost_metric(name.rpartition(".")[2])
            if metric is not None and metric.needs_hardware:
                known = ", ".join(m.name for m in COST_METRICS.values() if not m.needs_hardware)
                raise InputError(f"'{name}' needs hardware: (without it a space may use {known})")
    if spec.formats is not None:
        line = line_of(path, "formats")
        raise InputError(f"{path}:{line}: formats.grammar chooses by area and needs hardware:")
    given = next((name for name, task in spec.tasks.items() if task.workload), None)
    if given is not None:
        line = line_of(path, "tasks", given)
        raise InputError(f"{path}:{line}: tasks: '{given}' is priced on accelerators only: give hardware:")


def _resolve_tasks(
    path: Path, spec: SpaceFile, sets: list[tuple[FormatPair, ...]]
) -> tuple[dict[str, Network], dict[str, FixedNetwork], tuple[FormatPair, ...]]:
    """The networks to measure or the fixed networks, and their pairs."""
    given = [name for name, task in spec.tasks.items() if task.workload]
    if given and len(given) < len(spec.tasks):
        searched = next(name for name in spec.tasks if name not in given)
        line = line_of(path, "tasks", given[0])
        raise InputError(
            f"{path}:{line}: tasks: the formats of '{given[0]}' are given, those of '{searched}' are to be found: "
            "a space has tasks of one kind; search them in two files"
        )
    if given:
        _refuse_measuring(path, spec)
        fixed = {
            name: resolve_fixed(path, name, task.workload, task.formats, task.assignment, sets)
            for name, task in spec.tasks.items()
        }
        every = dict.fromkeys(pair for network in fixed.values() for pairs in network.pairs() for pair in pairs)
        return {}, fixed, tuple(every)
    if not spec.pairs:
        raise InputError(f"{path}:{line_of(path, 'pairs')}: pairs: list the format pairs that layers may take")
    attention = {name: task.attention for name, task in spec.tasks.items() if task.attention}
    _check_supported(path, ("pairs",), dict(enumerate(spec.pairs)), sets)
    for name, pair in attention.items():
        _check_supported(path, ("tasks", name), {"attention": pair}, sets)
    choices = possible(spec)
    networks = {name: _resolve_network(path, name, spec, choices) for name in spec.tasks}
    taken = np.any([network.allowed.any(axis=0) for network in networks.values()], axis=0)
    pairs = tuple(itertools.compress(choices, taken))
    return {n: replace(net, pairs=pairs, allowed=net.allowed[:, taken]) for n, net in networks.items()}, {}, pairs


def _refuse_measuring(path: Path, spec: SpaceFile) -> None:
    """Raise InputError if a space with given formats has keys about choosing and measuring formats."""
    for section, keys in {
        ("search",): ("evaluations", "batch"),
        (): ("pairs", "accumulator_sqnr_db", "target", "formats"),
    }.items():
        written = (spec.search if section else spec).model_fields_set
        for key in keys:
            if key in written:
                with naming(path, *section, key):
                    raise InputError("means nothing where the formats of every task are given; leave it out")


def _check_supported(
    path: Path, place: tuple[str, ...], pairs: Mapping[Any, str], sets: list[tuple[FormatPair, ...]]
) -> None:
    """Raise InputError, with the line of its key, for a pair at a place of the file that no unit supports."""
    supported = {str(pair) for pair in itertools.chain.from_iterable(sets)}
    for key, pair in pairs.items():
        if str(FormatPair.parse(pair).datapath) not in supported:
            raise InputError(
                f"{path}:{line_of(path, *place, key)}: {key if place[0] == 'tasks' else place[0]}: "
                f"no unit of the space supports {pair}{nearest(pair, supported)}"
            )


def _resolve_network(path: Path, name: str, spec: SpaceFile, choices: tuple[FormatPair, ...]) -> Network:
    written = spec.tasks[name]
    try:
        task = load_written(written, name, path.parent)
    except InputError as error:
        key = str(error).partition(":")[0]
        line = line_of(path, "tasks", name, key if key in written.model_fields_set else "task")
        raise InputError(f"{path}:{line}: {error}") from error.__cause__
    with naming(path, "tasks", name, "task"):
        workload = task.workload()
    kinds = workload.layer_kinds()
    allowed = allowed_choices(path, name, spec, workload.layers, kinds, choices, rounds=not reads_blocks(task.module))
    rules = target_rules(path, name, spec, workload, choices, allowed)
    ties = resolve_ties(path, name, written.ties, workload.layers, allowed, rules.ties)
    return Network(task, workload, choices, allowed, ties, written.ranges, rules)
