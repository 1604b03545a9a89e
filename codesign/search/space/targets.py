"""What a deployment target leaves of a network's choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codesign.errors import InputError
from codesign.formats import FormatPair
from codesign.search.space.written import SpaceFile
from codesign.targets import NONE, Layer, Target, get_target, layers_of
from codesign.targets.target import fused, usual_fuses
from codesign.workload import Workload
from codesign.yamlio import line_of


@dataclass(frozen=True)
class TargetRules:
    """A target's rules for one network."""

    target: Target | None  # None: any formats
    ties: tuple[tuple[int, ...], ...]  # indices of layers that the target, or every target, holds as one
    forbidden: Mapping[str, Mapping[str, str]]  # layer -> pair that the space has for it -> why the target has it not


NO_RULES = TargetRules(None, (), {})


def target_name(spec: SpaceFile, task: str) -> str:
    """The target of a task: its own, or that of the space; "" if none is written."""
    return spec.tasks[task].target or spec.target


def target_rules(
    path: Path, name: str, spec: SpaceFile, workload: Workload, choices: Sequence[FormatPair], allowed: np.ndarray
) -> TargetRules:
    """Restrict `allowed`, bool [layers, choices], to what the task's target can hold.

    Raises InputError with file and line if that leaves a layer no choice.
    """
    written = target_name(spec, name)
    layers = layers_of(workload)
    if written == NONE:
        return NO_RULES
    if not written:
        return TargetRules(None, _places(fused(usual_fuses(), layers.values()), workload.layers), {})
    target = get_target(written)
    forbidden: dict[str, dict[str, str]] = {}
    for place, layer in enumerate(workload.layers):
        reasons = _reasons(target, layers[layer], choices, allowed[place])
        if reasons:
            forbidden[layer] = reasons
            allowed[place] &= [str(pair.formats) not in reasons for pair in choices]
        if not allowed[place].any():
            at = ("tasks", name, "target") if spec.tasks[name].target else ("target",)
            pair, reason = next(iter(reasons.items()))
            raise InputError(
                f"{path}:{line_of(path, *at)}: target: {name}: layer '{layer}' may take no pair of the space; "
                f"{pair}: {reason}"
            )
    return TargetRules(target, _places(target.fused(layers.values()), workload.layers), forbidden)


def _reasons(target: Target, layer: Layer, choices: Sequence[FormatPair], allowed: np.ndarray) -> dict[str, str]:
    """Pair, without method, -> why a layer may not take it, of those that it might."""
    pairs = dict.fromkeys(pair.formats for pair, may in zip(choices, allowed, strict=True) if may)
    reasons = {str(pair): target.refusal(layer, pair) for pair in pairs}
    return {pair: reason for pair, reason in reasons.items() if reason is not None}


def _places(names: Sequence[Sequence[str]], layers: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(sorted(layers.index(name) for name in each)) for each in names)
