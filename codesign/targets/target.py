"""`Target`: the rules of a runtime that loads exported networks, from ``data/NAME.yaml``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, field_validator

from codesign.errors import InputError, nearest
from codesign.formats import Format, FormatPair, get_format
from codesign.formats.format import datapath
from codesign.workload import Workload
from codesign.workload.roles import known_roles, role_of
from codesign.yamlio import Written, load_yaml

_DATA = Path(__file__).parent / "data"
NONE = "none"  # the target of designs that no runtime need load

Kind = Literal["conv", "linear", "attention"]


@dataclass(frozen=True)
class Layer:
    """What the rules of a target depend on."""

    name: str
    kind: str  # conv, linear or attention
    role: str  # see `codesign.workload.roles`
    runs: frozenset[int]  # lengths along which blocks of its stationary operand lie


class Formats(Written):
    """Some layers, and the formats that a runtime has for them."""

    kinds: list[Kind] = Field(min_length=1)
    roles: list[str] = []  # of the layers; empty: all
    weights: list[str]  # formats of the weight, or of key and value; whatever rule or method found the scales
    activations: list[str]  # formats of the input, each of which goes with each weight, by its exact name
    # activation -> what the runtime computes with instead; both are exported and told as a deviation
    finer: dict[str, str] = {}  # that loses less than what was scored: proposed by a search like `activations`
    approximated: dict[str, str] = {}  # that may lose more: never proposed
    ragged: bool = False  # whether a last block may be shorter than the others
    multiple: PositiveInt = 1  # of which a layer's inputs are, where that is more than a block

    @field_validator("weights", "activations")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        return [get_format(name).name for name in names]

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in known_roles():
                raise ValueError(f"unknown role '{name}'{nearest(name, known_roles())}")
        return names

    def covers(self, layer: Layer) -> bool:
        """Whether these are formats of a layer."""
        return layer.kind in self.kinds and (not self.roles or layer.role in self.roles)


class Target(Written):
    """A runtime that loads exported networks."""

    name: str
    about: str  # one line
    exporter: str  # the name in ``codesign export --to``
    package: str  # that loads the files
    version: str  # of that package, with which the rules were tried
    source: str  # where the rules are documented
    # rows of roles; layers of one parent with the roles of a row are one matrix in the runtime, and share a pair
    fuses: list[list[str]] = []
    experts_alike: bool = False  # whether all matrices of all experts of a layer share a pair
    formats: list[Formats] = Field(min_length=1)  # of a layer all rows that cover it

    def refusal(self, layer: Layer, pair: FormatPair, *, approximated: bool = False) -> str | None:
        """Why the runtime cannot hold a layer in a pair, in words; None if it can.

        approximated: whether formats count that it computes with others than was measured.
        """
        rows = [row for row in self.formats if row.covers(layer)]
        if not rows:
            return f"{self.name} holds no {layer.kind} layer in another format than the network's own"
        weight, activation = _stem(pair.weight), pair.activation
        fitting = [row for row in rows if weight in row.weights]
        if not fitting:
            known = ", ".join(dict.fromkeys(name for row in rows for name in row.weights))
            what = "key and value" if layer.kind == "attention" else "weight"
            return f"{self.name} has no format '{weight}' for the {what} of this {layer.kind} layer; it has {known}"
        taken = [row for row in fitting if activation in row.activations or activation in row.finer]
        taken += [row for row in fitting if approximated and activation in row.approximated]
        if not taken:
            known = ", ".join(dict.fromkeys(name for row in fitting for name in (*row.activations, *row.finer)))
            return f"{self.name} has no activations '{activation}' with weights '{weight}'; it has {known}"
        block = _block(get_format(weight))
        whole = min(1 if row.ragged else max(block, row.multiple) for row in taken)
        if any(run % whole for run in layer.runs):
            run = next(run for run in sorted(layer.runs) if run % whole)
            return f"{self.name} needs whole blocks: {run} inputs are no multiple of the {whole} of '{weight}'"
        return None

    def instead(self, layer: Layer, pair: FormatPair) -> str | None:
        """What the runtime computes with in place of a pair's activations; None if with these."""
        weight, activation = _stem(pair.weight), pair.activation
        rows = [row for row in self.formats if row.covers(layer) and weight in row.weights]
        if any(activation in row.activations for row in rows):
            return None
        others = (each[activation] for row in rows for each in (row.finer, row.approximated) if activation in each)
        return next(others, None)

    def fused(self, layers: Iterable[Layer]) -> list[tuple[str, ...]]:
        """The sets of two or more layers that the runtime holds as one, in the order of `layers`."""
        layers = list(layers)
        return fused(self.fuses, layers) + (experts_of(layers) if self.experts_alike else [])


def fused(fuses: Iterable[Iterable[str]], layers: Iterable[Layer]) -> list[tuple[str, ...]]:
    """The sets of two or more layers of one parent whose roles stand in one row of `fuses`."""
    found: dict[tuple[int, str], list[str]] = defaultdict(list)
    rows = [tuple(row) for row in fuses]
    for layer in layers:
        for place, row in enumerate(rows):
            if layer.role in row:
                found[place, layer.name.rpartition(".")[0]].append(layer.name)
    return [tuple(names) for names in found.values() if len(names) > 1]


def experts_of(layers: Iterable[Layer]) -> list[tuple[str, ...]]:
    """The sets of two or more layers that are matrices of the experts of one mixture."""
    found: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        mixture, inside, _ = f".{layer.name}".rpartition(".experts.")
        if inside:
            found[mixture].append(layer.name)
    return [tuple(names) for names in found.values() if len(names) > 1]


@cache
def usual_fuses() -> tuple[tuple[str, ...], ...]:
    """What every runtime fuses: the sets of roles that stand in one row of each target."""
    targets = [get_target(name) for name in target_names()]
    return tuple(
        dict.fromkeys(
            tuple(row)
            for row in targets[0].fuses
            if all(any(set(row) <= set(other) for other in target.fuses) for target in targets)
        )
    )


def layers_of(workload: Workload) -> dict[str, Layer]:
    """The layers of a workload, as rules see them."""
    runs: dict[str, set[int]] = defaultdict(set)
    for op in workload.operators:
        runs[op.layer].add(op.run or op.k)
    kinds = workload.layer_kinds()
    return {name: Layer(name, kind, role_of(name, kind), frozenset(runs[name])) for name, kind in kinds.items()}


def target_names() -> tuple[str, ...]:
    """The names of all targets but ``none``."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.yaml")))


@cache
def get_target(name: str) -> Target:
    """The target `name`; raises InputError with the nearest name if it is unknown, and for ``none``."""
    if name not in target_names():
        raise InputError(f"unknown target '{name}'{nearest(name, (*target_names(), NONE))}")
    return load_yaml(_DATA / f"{name}.yaml", Target)


def check_target(name: str) -> str:
    """Return `name` if it is a target, ``none`` or empty; raises InputError with the nearest name otherwise."""
    if name not in ("", NONE):
        get_target(name)
    return name


def able(layer: Layer, pair: FormatPair) -> list[str]:
    """The targets that can hold a layer in a pair."""
    return [name for name in target_names() if get_target(name).refusal(layer, pair, approximated=True) is None]


def check_layers(target: Target, layers: Mapping[str, Layer], pairs: Mapping[str, FormatPair]) -> None:
    """Raise InputError with the first layer that a target cannot hold, and the targets that can."""
    for name, pair in pairs.items():
        reason = target.refusal(layers[name], pair, approximated=True)
        if reason is not None:
            others = able(layers[name], pair)
            can = f"; {', '.join(others)} can hold it" if others else "; brevitas, json and assignment take any format"
            raise InputError(f"layer '{name}': {reason}{can}")
    for names in target.fused(layers.values()):
        different = {pairs[name].formats for name in names if name in pairs}
        if len(different) > 1:
            formats = ", ".join(f"{name} {pairs[name]}" for name in names if name in pairs)
            raise InputError(f"{target.name} holds these layers as one matrix in one format: {formats}")


def _stem(name: str) -> str:
    """A weight's format without the rule that found its scales, which no file holds."""
    fmt = get_format(datapath(name))
    return fmt.with_rule(fmt.rules[0]).name if fmt.rules else fmt.name


def _block(fmt: Format) -> int:
    return fmt.scaling.block or 1 if fmt.scaling is not None else 1
