"""Names for `intercept`: the layer that a weight belongs to, and the stack of running modules."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

ROOT = "root"  # name of the root module, whose qualified name is empty


class Frame:
    """One running call of a module, with counts of its matrix products so far."""

    __slots__ = ("attention", "computed", "name", "scores")

    def __init__(self, name: str) -> None:
        self.name = name
        self.attention = 0  # products of two activations
        self.computed = 0  # products with a computed weight (weight norm, a cast)
        self.scores: tuple[int, int] | None = None  # query and key length of the last attention_qk


class CallStack:
    """Stack of the running modules, innermost last, maintained by forward hooks between `start` and `stop`."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.frames: list[Frame] = []
        self._handles: list[RemovableHandle] = []

    def start(self, shared: set[str]) -> None:
        """Add hooks to every module whose name may be needed; `shared`: the layers with tied weights."""
        for name, module in self.module.named_modules():
            if _needs_a_frame(name, module, shared):
                self._hook(name or ROOT, module)

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.frames.clear()

    def _hook(self, name: str, module: nn.Module) -> None:
        frames = self.frames

        def push(_module: nn.Module, _args: object) -> None:
            frames.append(Frame(name))

        def pop(_module: nn.Module, _args: object, _output: object) -> None:
            if frames:
                frames.pop()

        self._handles.append(module.register_forward_pre_hook(push))
        # always_call: the frame is popped even if the module raises
        self._handles.append(module.register_forward_hook(pop, always_call=True))


class WeightNames:
    """Maps parameters (by identity) to layer names; a tied weight has several."""

    def __init__(self, module: nn.Module, standins: Mapping[str, Tensor]) -> None:
        self._names: dict[int, list[str]] = {}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            layer = ROOT if name == "weight" else name.removesuffix(".weight")
            self._names.setdefault(id(parameter), []).append(layer)
        for name, parameter in module.named_parameters():
            if name in standins:
                self._names[id(standins[name])] = self._names[id(parameter)]

    @property
    def shared(self) -> set[str]:
        """Layers whose weight has more than one name."""
        return {name for names in self._names.values() if len(names) > 1 for name in names}

    def owns(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter, or a view of one."""
        return id(tensor if tensor._base is None else tensor._base) in self._names

    def find(self, weight: Tensor, frame: Frame | None) -> str | None:
        """The layer of a parameter, or of a view or slice of one; None for any other tensor.

        A tied weight is named after the module that uses it.
        """
        names = self._names.get(id(weight))
        if names is not None and len(names) == 1:
            return names[0]
        base = weight if names is not None else weight._base
        if base is None:
            return None
        names = self._names.get(id(base))
        if names is None:
            return None
        name = frame.name if frame is not None and frame.name in names else names[0]
        return name if weight.numel() == base.numel() else f"{name}#{_extent(weight, base)}"


def numbered(name: str, index: int) -> str:
    """``name``, then ``name#1``, ``name#2``, ..."""
    return f"{name}#{index}" if index else name


def _extent(part: Tensor, whole: Tensor) -> str:
    """Range ``start-end`` of a slice in `whole`, in rows (in elements if it does not consist of whole rows)."""
    row = whole.numel() // whole.shape[0]
    start, size = part.storage_offset() - whole.storage_offset(), part.numel()
    if start % row == 0 and size % row == 0:
        start, size = start // row, size // row
    return f"{start}-{start + size}"


def _needs_a_frame(name: str, module: nn.Module, shared: set[str]) -> bool:
    """Whether a product may be named after this module: not for torch's leaf modules, named after their weight."""
    if not name or next(module.children(), None) is not None or name in shared:
        return True
    if not type(module).__module__.startswith("torch.nn.modules"):
        return True
    computed = isinstance(getattr(module, "weight", None), Tensor)  # for example by weight norm
    return "weight" not in module._parameters and (computed or bool(module._parameters))
