"""Whether a trace saw every product: by torch's own count of the pass, and by the parameters that no product read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from codesign.errors import InputError
from codesign.workload.types import Operator

Unseen = Literal["refuse", "warn"]
_LOST = 0.01  # share of torch's count that may be missing: products of one element's width are left alone
_UNREAD = 0.1  # share of the weights that no product reads
_LOOKUPS = ("embedding", "embedding_bag")


class Census(TorchFunctionMode):
    """While a module runs: torch's count of its products, and which weights were looked up or multiplied."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = module
        self._flops = FlopCounterMode(display=False)
        self._read: set[int] = set()
        self.left_alone = 0  # MACs of outer products and of weights with weights

    @contextmanager
    def counting(self) -> Iterator[Census]:
        """For the time of one pass."""
        with self._flops, self:
            yield self

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.embedding or getattr(func, "__name__", "").partition(".")[0] in _LOOKUPS:
            for each in (*args, *kwargs.values()):
                if isinstance(each, Tensor) and each.is_floating_point():
                    self.read(each)
        return func(*args, **kwargs)

    def leave(self, a: Tensor, b: Tensor, result: Tensor) -> None:
        """Count a product that the trace leaves alone: its contraction is as long as the three sizes say."""
        depth = (a.numel() * b.numel() / max(result.numel(), 1)) ** 0.5
        self.left_alone += round(result.numel() * max(depth, 1.0))

    def read(self, weight: Tensor) -> None:
        """A product, or a table, reads this weight."""
        self._read.add(id(weight if weight._base is None else weight._base))

    def unread(self, operators: Sequence[Operator]) -> tuple[tuple[str, int], ...]:
        """(name, elements) of the weights, two axes or more, that nothing of `operators` reads.

        A layer whose weight is computed, by a parametrization or from several parameters, reads all of its module's.
        """
        owners = {operator.layer.partition("#")[0] for operator in operators}
        return tuple(
            (name, parameter.numel())
            for name, parameter in self._module.named_parameters()
            if parameter.ndim > 1 and id(parameter) not in self._read and not _owned(name, owners)
        )

    def check(self, name: str, operators: Sequence[Operator], unseen: Unseen) -> tuple[tuple[str, int], ...]:
        """The weights that nothing reads; raises InputError where products, or too many weights, were not seen."""
        counted = self._flops.get_total_flops() // 2
        ours = sum(operator.macs for operator in operators) + self.left_alone
        if counted - ours > _LOST * counted:
            raise InputError(
                f"network '{name}': {counted - ours:,} of {counted:,} MACs are in products of a kind that is not "
                f"understood{self._where(operators)}: write them with torch.nn.functional.linear, convolutions, matmul "
                "or scaled_dot_product_attention"
            )
        unread = self.unread(operators)
        size = sum(parameter.numel() for parameter in self._module.parameters() if parameter.ndim > 1)
        lost = sum(count for _, count in unread)
        if unseen == "refuse" and lost > _UNREAD * size:
            first = max(unread, key=lambda each: each[1])[0]
            raise InputError(
                f"network '{name}': {lost:,} of {size:,} weights enter no product that is understood, '{first}' first "
                "(a custom kernel? a branch that this data does not take?); 'unseen: warn' searches the rest"
            )
        return unread

    def _where(self, operators: Sequence[Operator]) -> str:
        """The module that holds most of what is missing, and no module inside it does."""
        ours: defaultdict[str, int] = defaultdict(int)
        for operator in operators:
            parts = operator.layer.partition("#")[0].split(".")
            for depth in range(len(parts) + 1):
                ours[".".join(parts[:depth])] += operator.macs
        lost = {}
        for full, kinds in self._flops.get_flop_counts().items():
            inside = full.partition(".")[2]
            if full != "Global" and inside:
                lost[inside] = sum(kinds.values()) // 2 - ours[inside]
        if not lost or max(lost.values()) <= 0:
            return ""
        worst = max(lost.values())
        return f", in module '{max((m for m in lost if lost[m] > 0.9 * worst), key=len)}'"


def _owned(parameter: str, owners: set[str]) -> bool:
    """Whether a layer stands for the module, or for a module around it, that this parameter belongs to."""
    module = parameter.rpartition(".")[0]
    inner = module.partition(".parametrizations")[0]
    return bool(owners & {module, inner} - {""}) or (not module and "root" in owners)
