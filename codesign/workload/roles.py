"""Roles of layers in a network, and assignments by role, which transfer from one network to another."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import yaml

from codesign.errors import InputError, nearest
from codesign.formats import Assignment, FormatPair, LayerFormats
from codesign.workload.types import Workload

OTHER = "other"
LABEL = "transferred"


@cache
def _table() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    """Rows of roles.yaml: (role, kind or "", pattern of names)."""
    rows = yaml.safe_load((Path(__file__).parent / "roles.yaml").read_text(encoding="utf-8"))["roles"]
    return tuple(
        (row["role"], row.get("kind", ""), re.compile(rf"(?:.*\.)?(?:{'|'.join(row['names'])})")) for row in rows
    )


def known_roles() -> tuple[str, ...]:
    """All roles, in the order of roles.yaml."""
    return (*(role for role, _, _ in _table()), OTHER)


def role_of(layer: str, kind: str) -> str:
    """The role of a layer of `kind` (conv, linear, attention) by its name; `other` if no pattern matches."""
    return next(
        (role for role, wanted, names in _table() if wanted in ("", kind) and names.fullmatch(layer)),
        OTHER,
    )


def roles(workload: Workload) -> dict[str, str]:
    """Layer -> role."""
    return {layer: role_of(layer, kind) for layer, kind in workload.layer_kinds().items()}


@dataclass(frozen=True)
class RoleRules:
    """An assignment of format pairs by role. Raises InputError on an unknown role."""

    rules: Mapping[str, FormatPair]  # role -> pair
    default: FormatPair | None = None  # for roles without a rule
    agreement: Mapping[str, float] = field(default_factory=dict)  # role -> share of its MACs with this pair
    origin: Mapping[str, str] = field(default_factory=dict)  # identifies the network that the rules come from

    def __post_init__(self) -> None:
        for role in self.rules:
            if role not in known_roles():
                raise InputError(f"unknown role '{role}'{nearest(role, known_roles())}")

    @classmethod
    def of(cls, assignment: Assignment, workload: Workload, origin: Mapping[str, str]) -> RoleRules:
        """For each role, the pair that most of its MACs have in `workload` under `assignment`.

        Raises InputError if the assignment lacks a layer.
        """
        found: defaultdict[str, Counter[FormatPair]] = defaultdict(Counter)
        for role, pair, macs in _parts(assignment, workload):
            found[role][pair] += macs
        rules, agreement = {}, {}
        for role in sorted(found, key=known_roles().index):
            ((pair, macs),) = found[role].most_common(1)
            rules[role], agreement[role] = pair, macs / found[role].total()
        return cls(rules, None, agreement, origin)

    def apply(self, workload: Workload) -> Assignment:
        """The assignment of these rules to another network, whose quality is not measured by this.

        Raises InputError naming all roles without a rule if there is no default.
        """
        kinds, by_layer = workload.layer_kinds(), roles(workload)
        missing = {role: layer for layer, role in reversed(by_layer.items()) if role not in self.rules}
        if missing and self.default is None:
            names = ", ".join(f"{role} ({layer})" for role, layer in missing.items())
            raise InputError(f"no rule for these roles of {workload.name}: {names}; add them or a default")
        chosen = {layer: self.rules.get(role, self.default) for layer, role in by_layer.items()}
        return Assignment.of(
            {
                layer: LayerFormats.of_pair(pair, attention=kinds[layer] == "attention")
                for layer, pair in chosen.items()
                if pair is not None
            }
        )


def _parts(assignment: Assignment, workload: Workload) -> Iterator[tuple[str, FormatPair, int]]:
    """(role, pair with its method, MACs of one result) of every operator."""
    given, by_layer = dict(assignment.layers), roles(workload)
    for op in workload.operators:
        if op.layer not in given:
            raise InputError(f"{workload.name}: the assignment gives no formats for layer '{op.layer}'")
        formats = given[op.layer]
        pair = replace(formats.pair(op.kind), method=formats.method)
        yield by_layer[op.layer], pair, op.macs * workload.repeats.get(op.phase, 1)
