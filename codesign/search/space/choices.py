"""The choices of layers: pairs of formats, each with the methods by which a weight may be rounded to its format."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from codesign.errors import InputError, nearest
from codesign.formats import FormatPair, get_format
from codesign.formats.assignment import METHODS, NEAREST
from codesign.search.space.written import AUTO, SpaceFile, TaskSpec
from codesign.yamlio import line_of

_FEW_BITS = 6  # weights of so many bits or fewer are rounded by GPTQ unless the space says otherwise


def method_of(word: str, pair: FormatPair) -> str:
    """The method that `word`, a method or ``auto``, means for a pair's weight; a cast is rounded to the nearest."""
    fmt = get_format(pair.weight)
    if fmt.is_cast or word != AUTO:
        return NEAREST if fmt.is_cast else word
    return "gptq" if fmt.element_bits <= _FEW_BITS else NEAREST


def possible(spec: SpaceFile) -> tuple[FormatPair, ...]:
    """Every pair that the file writes, with each method that it may have; a pair with a method has that one."""
    words = dict.fromkeys(
        [AUTO, *(word for task in spec.tasks.values() for each in task.methods.values() for word in each)]
    )
    written = [*spec.pairs, *(task.attention for task in spec.tasks.values() if task.attention)]
    pairs = [FormatPair.parse(text) for text in written]
    of_layers = (
        FormatPair.parse(text) for task in spec.tasks.values() for each in task.layers.values() for text in each
    )
    pairs += [pair for pair in of_layers if pair.method != NEAREST and pair.formats in {each.formats for each in pairs}]
    return tuple(dict.fromkeys(each for pair in pairs for each in _with_methods(pair, words)))


def _with_methods(pair: FormatPair, words: Iterable[str]) -> Iterator[FormatPair]:
    if pair.method != NEAREST:
        yield pair
        return
    meant = {method_of(word, pair) for word in words}
    for method in METHODS:
        if method in meant:
            yield FormatPair(pair.weight, pair.activation, method)


def allowed_choices(
    path: Path,
    name: str,
    spec: SpaceFile,
    layers: Sequence[str],
    kinds: Mapping[str, str],
    choices: Sequence[FormatPair],
    *,
    rounds: bool = True,
) -> np.ndarray:
    """Which of `choices` each layer of a task may take, bool [layers, choices].

    An attention takes each pair by one method, as it has no weight; if it is tied to other layers, by all of theirs.
    rounds: whether weights can be rounded by methods; a network that is read block by block has the nearest alone.
    Raises InputError with file and line on a glob that matches no layer, and on a pair that is not the space's.
    """
    task = spec.tasks[name]
    usual = [FormatPair.parse(text) for text in spec.pairs]
    attention = [FormatPair.parse(task.attention)] if task.attention else usual
    pairs = {layer: attention if kinds[layer] == "attention" else usual for layer in layers}
    for glob, named in task.layers.items():
        known = {each.formats for each in choices}
        for layer in _matched(path, name, "layers", glob, layers):
            pairs[layer] = [FormatPair.parse(text) for text in named]
        for text in named:
            if FormatPair.parse(text).formats not in known:
                line = line_of(path, "tasks", name, "layers", glob)
                raise InputError(f"{path}:{line}: {glob}: {text} is not among the space's pairs")
    words = {layer: [AUTO] for layer in layers}
    for glob, listed in task.methods.items():
        for layer in _matched(path, name, "methods", glob, layers):
            words[layer] = listed
    if not rounds:
        _refuse_methods(path, name, task, choices)
        words = {layer: [NEAREST] for layer in layers}
    tied = {layer for globs in task.ties for glob in globs for layer in layers if fnmatch.fnmatchcase(layer, glob)}
    found = np.zeros((len(layers), len(choices)), dtype=bool)
    for place, layer in enumerate(layers):
        every = (*METHODS, AUTO) if kinds[layer] == "attention" and layer in tied else words[layer]
        taken = [each for pair in pairs[layer] for each in _with_methods(pair, every)]
        if kinds[layer] == "attention" and layer not in tied:  # methods are of weights: one choice of each pair
            taken = [each for i, each in enumerate(taken) if each.formats not in {e.formats for e in taken[:i]}]
        found[place] = [each in taken for each in choices]
    return found


def _matched(path: Path, name: str, key: str, glob: str, layers: Sequence[str]) -> list[str]:
    hits = [layer for layer in layers if fnmatch.fnmatchcase(layer, glob)]
    if not hits:
        line = line_of(path, "tasks", name, key, glob)
        raise InputError(f"{path}:{line}: layer pattern '{glob}' matches no layer of {name}{nearest(glob, layers)}")
    return hits


def _refuse_methods(path: Path, name: str, task: TaskSpec, choices: Sequence[FormatPair]) -> None:
    """Raise InputError if a method is asked for by name where none can be had."""
    for glob, listed in task.methods.items():
        word = next((word for word in listed if word not in (AUTO, NEAREST)), None)
        if word is not None:
            line = line_of(path, "tasks", name, "methods", glob)
            raise InputError(
                f"{path}:{line}: methods: {word} needs the weights of {name} in memory, which is read block by block; "
                "raise memory_gib, or take nearest"
            )
