"""Weights of transformers' directories by the names of the network's parameters, one at a time.

Files may hold a weight under an older name or in parts, such as the experts of a bank; transformers converts them when
it loads a network whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codesign.models.streaming import Source, file_sources

Convert = Callable[[dict[str, Source]], dict[str, Tensor]]  # from what reads the parts to parameters by name
Parts = list[tuple[str, str]]  # (pattern of the converter that a part goes to, its name in the files)


def converted_sources(module: Any, folder: Path) -> dict[str, Source]:
    """What reads each parameter of a network, whose weights may be on the meta device, by its name there."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, dot_natural_key, rename_source_key

    files, state = file_sources(folder), module.state_dict()
    mapping: Any = get_model_conversion_mapping(module)
    converters = [each for each in mapping if isinstance(each, WeightConverter)]
    renamings: Any = [each for each in mapping if each not in converters]
    by_pattern = {pattern: each for each in converters for pattern in each.source_patterns}
    found: dict[str, Source] = {}
    parts: defaultdict[str, Parts] = defaultdict(list)
    for name in sorted(files, key=dot_natural_key):
        target, pattern = rename_source_key(name, renamings, converters, module.base_model_prefix, state)
        if target not in state and name in state:
            target, pattern = rename_source_key(name, [], [], module.base_model_prefix, state)
        if target in state and pattern is None:
            found[target] = files[name]
        elif target in state and pattern is not None:
            parts[target].append((pattern, name))
    for first, names in parts.items():
        convert = _conversion(module, by_pattern[names[0][0]], first, names)
        shapes = convert({name: _shape_of(files[name]) for _, name in names})
        for target in shapes:  # one part may be cut into several parameters
            found[target] = partial(_converted, convert, files, target)
    return found


def _shape_of(source: Source) -> Source:
    return lambda: source().to("meta")


def _converted(convert: Convert, files: dict[str, Source], target: str) -> Tensor:
    return convert(files)[target]


def _conversion(module: Any, converter: Any, first: str, names: Parts) -> Convert:
    """What computes the parameters that a converter makes of parts."""

    def convert(files: dict[str, Source]) -> dict[str, Tensor]:
        mine = deepcopy(converter)
        for pattern, name in names:
            mine.add_tensor(first, name, pattern, files[name]())
        with torch.no_grad():
            made = mine.convert(first, model=module, config=module.config)
        return {target: each[0] if isinstance(each, list) else each for target, each in made.items()}

    return convert


__all__ = ["converted_sources"]
