"""Changes of a network that can be taken back, and the check that they keep what it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.preparation.running import ROWS, all_outputs, attempt, difference, first_outputs
from codesign.models.preparation.types import Match
from codesign.models.task import Task

TOLERANCE = 1e-4  # of the largest output: what the order of sums may change in float32


class Journal:
    """What was changed, to take it back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def write(self, tensor: Tensor, value: Tensor) -> None:
        """Replace the values of a tensor, rounded to its type."""
        old = tensor.detach().clone()
        self._undo.append(lambda: _write(tensor, old))
        _write(tensor, value)

    def put(self, place: MutableMapping[str, Any], key: str, value: Any) -> None:
        """Replace a parameter or a part of a module."""
        old = place[key]
        self._undo.append(lambda: place.__setitem__(key, old))
        place[key] = value

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()


@torch.no_grad()
def _write(tensor: Tensor, value: Tensor) -> None:
    tensor.copy_(value.reshape(tensor.shape))


@dataclass(eq=False)
class Change:
    """A change that a match allows."""

    match: Match
    apply: Callable[[Journal], None]
    channels: int = 0  # how many are changed; 0: unknown


class Guard:
    """Compares a network with the original on the first call of the calibration run."""

    hopeless = 0.05  # larger differences are no rounding, which float64 would show

    def __init__(self, task: Task, module: nn.Module) -> None:
        self.task, self.module = task, module
        self.accepted = 0.0  # error of the changes that stay
        self._reference = self._original()
        self._precise: list[Tensor] | None = None
        if not any(each.is_floating_point() for each in self._reference):
            raise InputError(f"{task.name}: the network returns no floating-point tensor, so no change can be checked")

    def _original(self) -> list[Tensor]:
        found = attempt(lambda: first_outputs(self.task, self.task.module))
        self.rows = None if found is None else ROWS  # a network may take whole batches only
        return first_outputs(self.task, self.task.module, rows=None) if found is None else found

    def _outputs(self, module: nn.Module, dtype: torch.dtype | None = None) -> list[Tensor]:
        return first_outputs(self.task, module, rows=self.rows, dtype=dtype)

    @property
    def may_try(self) -> bool:
        """Whether another comparison is affordable."""
        return True

    def accepts(self) -> tuple[bool, float]:
        """Whether the network computes what the original does, and its error."""
        error = self.error()
        if error <= TOLERANCE:
            self.accepted = error
        return error <= TOLERANCE, error

    def error(self) -> float:
        """The difference from the original over the largest output; infinite where the network no longer runs."""
        found = attempt(lambda: self._outputs(self.module))
        error = float("inf") if found is None else difference(self._reference, found)
        if TOLERANCE < error < self.hopeless:  # perhaps float32's rounding, amplified
            error = min(error, self._precise_error())
        return error

    def _precise_error(self) -> float:
        if self._precise is None:
            self._precise = self._in_double(self.task.module) or []
        found = self._in_double(self.module) if self._precise else None
        return difference(self._precise, found) if found and self._precise else float("inf")

    def _in_double(self, module: nn.Module) -> list[Tensor] | None:
        double = copy.deepcopy(module).double()
        return attempt(lambda: self._outputs(double, torch.float64))


class WholeGuard(Guard):
    """Compares a network with the original on all calls of the calibration run, for as often as that is affordable.

    In a whole run, rounding may send a sample to another expert, so float64 decides about large differences too.
    """

    hopeless = float("inf")
    left = 16  # comparisons

    @property
    def may_try(self) -> bool:
        return self.left > 0

    def error(self) -> float:
        self.left -= 1
        return super().error()

    def _original(self) -> list[Tensor]:
        return all_outputs(self.task, self.task.module)

    def _outputs(self, module: nn.Module, dtype: torch.dtype | None = None) -> list[Tensor]:
        return all_outputs(self.task, module, dtype=dtype)


def kept(guard: Guard, changes: Sequence[Change]) -> tuple[list[Change], list[tuple[Change, str]]]:
    """Apply changes, all at once or, where the outputs differ, by halves: those that stay, and those that cannot."""
    if not changes:
        return [], []
    if not guard.may_try:
        return [], [(change, "other changes of this step change the outputs") for change in changes]
    journal = Journal()
    for change in changes:
        change.apply(journal)
    accepted, error = guard.accepts()
    if accepted:
        return list(changes), []
    journal.undo()
    if len(changes) == 1:
        how = "the network would not run" if error == float("inf") else f"the outputs would change by {error:.2g}"
        return [], [(changes[0], how)]
    middle = len(changes) // 2
    first, second = kept(guard, changes[:middle]), kept(guard, changes[middle:])
    return first[0] + second[0], first[1] + second[1]
