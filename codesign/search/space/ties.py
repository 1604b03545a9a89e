"""Ties: layers that must take the same pair, such as query, key and value of a block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codesign.errors import InputError, nearest
from codesign.yamlio import line_of


def tied(layers: Sequence[str], patterns: Sequence[str]) -> list[tuple[int, ...]]:
    """The sets of two or more layers that these patterns tie, as indices into `layers`.

    One pattern ties all layers that it matches. Several patterns tie layers that match one of them with the same text
    for ``*`` and ``?``: ``*.to_q`` and ``*.to_k`` tie the two layers within each block, and no block to another.
    Raises LookupError with a pattern that matches no layer.
    """
    sets: dict[tuple[str, ...], list[int]] = {}
    for pattern in patterns:
        expression = re.compile("".join({"*": "(.*)", "?": "(.)"}.get(c) or re.escape(c) for c in pattern))
        hits = [(place, hit) for place, layer in enumerate(layers) if (hit := expression.fullmatch(layer))]
        if not hits:
            raise LookupError(pattern)
        for place, hit in hits:
            sets.setdefault(hit.groups() if len(patterns) > 1 else (), []).append(place)
    return [tuple(sorted(set(places))) for places in sets.values() if len(set(places)) > 1]


def resolve_ties(
    path: Path,
    name: str,
    ties: Sequence[Sequence[str]],
    layers: Sequence[str],
    allowed: np.ndarray,
    of_target: Sequence[tuple[int, ...]] = (),
) -> tuple[tuple[int, ...], ...]:
    """The sets of tied layers, with those `of_target` that its runtime ties.

    Restricts `allowed`, bool [layers, pairs], to pairs that all layers of a tie may take.

    Raises InputError with file and line on a pattern without a match, and on a tie that no pair suits.
    """
    found: list[tuple[int, ...]] = list(of_target)
    for i, patterns in enumerate(ties):
        line = line_of(path, "tasks", name, "ties", i)
        try:
            together = tied(layers, patterns)
        except LookupError as error:
            pattern = str(error.args[0])
            hint = nearest(pattern, layers)
            raise InputError(f"{path}:{line}: ties: pattern '{pattern}' matches no layer of {name}{hint}") from None
        if not together:
            raise InputError(
                f"{path}:{line}: ties: {', '.join(patterns)}: no two layers of {name} are tied by this; with several "
                "patterns the text in the place of * must be the same"
            )
        found += together
    group = groups(len(layers), found)
    for g in np.unique(group):
        allowed[group == g] = allowed[group == g].all(axis=0)
        if not allowed[group == g].any():
            names = ", ".join(layers[int(i)] for i in np.flatnonzero(group == g))
            key = "ties" if ties else "target"
            raise InputError(
                f"{path}:{line_of(path, 'tasks', name, key)}: {key}: no pair is allowed in all of {names}, by the same "
                "method"
            )
    return tuple(found)


def groups(count: int, ties: Sequence[Sequence[int]]) -> np.ndarray:
    """The group of each layer, int [count], numbered by first layer; ties that overlap are merged."""
    group = np.arange(count)
    for places in ties:
        members = np.isin(group, group[list(places)])
        group[members] = group[members].min()
    return np.unique(group, return_inverse=True)[1].reshape(-1)


def first(group: np.ndarray) -> np.ndarray:
    """The index of each group's first layer, int [G]."""
    return np.unique(group, return_index=True)[1]


def summed(table: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Sum a table of layers [..., L, C] over groups, [..., G, C]."""
    count = int(group.max()) + 1
    if count == len(group):
        return table
    return np.stack([table[..., group == g, :].sum(axis=-2) for g in range(count)], axis=-2)
