"""Single layers of an exported network on the very inputs that the scored network gave them.

Outputs of a whole network tell little of how a library rounds: a sum in another order moves some input over a step, and
the network carries that on. Within one layer the same input gives the same output, up to the last bits of the sum.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import CodesignError
from codesign.export.proof import sqnr_db


@dataclass(frozen=True)
class Seen:
    """The first input of a layer, and what the scored network made of it."""

    input: Tensor
    output: Tensor


@contextlib.contextmanager
def seen(module: nn.Module, paths: Mapping[str, str]) -> Iterator[dict[str, Seen]]:
    """Context in which calls of a module note the first input and output of some layers, by layer; paths: of these."""
    found: dict[str, Seen] = {}

    def keep(layer: str) -> Any:
        def hook(_module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if layer not in found and args and isinstance(output, Tensor):
                found[layer] = Seen(args[0].detach().clone(), output.detach().clone())

        return hook

    hooks = [module.get_submodule(path).register_forward_hook(keep(layer)) for layer, path in paths.items()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def check_layers(
    module: nn.Module, paths: Mapping[str, str], inputs: Mapping[str, Seen], least: Mapping[str, float]
) -> float:
    """The least SQNR of layers of an opened module; raises CodesignError below `least`, by layer."""
    found = []
    for layer, (x, wanted) in ((layer, (each.input, each.output)) for layer, each in inputs.items()):
        with torch.no_grad():
            sqnr = sqnr_db(module.get_submodule(paths[layer])(x), wanted)
        if not sqnr >= least[layer]:
            raise CodesignError(
                f"layer '{layer}': on the input that was scored the library computes something else: SQNR {sqnr:.1f} "
                f"dB, at least {least[layer]:.0f} dB wanted; nothing was written"
            )
        found.append(sqnr)
    return min(found, default=float("nan"))


def ends(groups: Iterable[list[str]]) -> list[str]:
    """The first and the last of each group."""
    return [name for group in groups for name in dict.fromkeys((group[0], group[-1]))]
