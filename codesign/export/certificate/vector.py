"""The vector unit's arithmetic: what is no matrix product is rounded to bfloat16 after every operation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

_LOOKED_UP = ("embedding",)


class VectorUnit(TorchDispatchMode):
    """Context in which operations of `module` on activations round their results to bfloat16, to nearest even.

    Within one operation of torch (a softmax, a norm, an activation) everything is float32. Activations are what depends
    on a matrix product (`mark`) or is looked up in a table of embeddings. What depends on neither, positions or the
    sinusoids of a time step, is a table in a device's memory and stays as it is; so does what runs outside of the
    module, such as a sampler.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # not annotated in torch 2.13
        self._module = module
        self._inside = False
        self._activations = WeakTensorKeyDictionary()
        self._hooks: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled in this context; the default would import torch's compiler, which takes two seconds."""
        return False

    def __enter__(self) -> VectorUnit:
        self._hooks = [
            self._module.register_forward_pre_hook(lambda *_: self._set(True)),
            self._module.register_forward_hook(lambda *_: self._set(False), always_call=True),
        ]
        super().__enter__()  # type: ignore[no-untyped-call]  # not annotated in torch 2.13
        return self

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)  # type: ignore[no-untyped-call]  # not annotated in torch 2.13
        for hook in self._hooks:
            hook.remove()
        self._set(False)

    def mark(self, result: Tensor) -> Tensor:
        """The result of a matrix product, rounded."""
        result = rounded(result)
        self._activations[result] = True
        return result

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within the context nothing is rounded."""
        before, self._inside = self._inside, False
        try:
            yield
        finally:
            self._inside = before

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._inside:
            name = func._schema.name.partition("::")[2]
            if name in _LOOKED_UP or any(x in self._activations for x in _tensors((args, kwargs))):
                for x in _tensors(result):
                    self._take(x, view=func.is_view)
        return result

    def _take(self, x: Tensor, *, view: bool) -> None:
        if not view:
            x.copy_(rounded(x))
        self._activations[x] = True

    def _set(self, inside: bool) -> None:
        self._inside = inside
        if not inside:
            self._activations = WeakTensorKeyDictionary()


def rounded(x: Tensor) -> Tensor:
    """float32 numbers that bfloat16 holds; finite ones stay finite, such as the least float32 as a mask."""
    found = x.to(torch.bfloat16).to(x.dtype)
    return torch.where(found.isinf() & x.isfinite(), x.sign() * torch.finfo(torch.bfloat16).max, found)


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
