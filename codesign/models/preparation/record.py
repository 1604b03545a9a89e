"""The data flow of one forward pass: every torch function, with the tensors that it reads and writes.

torch.fx does not trace all networks of transformers, so a pass is watched while it runs: a `TorchFunctionMode` sees
each call of a torch function, forward hooks see which module makes it. Tensors are told apart by their Python objects,
to which only weak references are kept, so that a pass needs no more memory than usual.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.hooks import RemovableHandle

from codesign.models.preparation.functions import HARMLESS
from codesign.models.preparation.running import leaves
from codesign.workload.composite import OPENED, Reentered
from codesign.workload.naming import ROOT


@dataclass(frozen=True, slots=True)
class Ref:
    """A floating-point tensor in the arguments of a call, by its number."""

    value: int


@dataclass(slots=True)
class Value:
    """A floating-point tensor at one moment: an operation in place makes another value of the same tensor."""

    shape: tuple[int, ...]
    parameter: nn.Parameter | None = None
    producer: int | None = None  # number of the `Op`; None for parameters, buffers and inputs


@dataclass(slots=True)
class Op:
    """One call of a torch function."""

    number: int
    name: str  # without underscores: "add" for add_, __add__ and __iadd__
    func: Callable[..., Any]
    args: tuple[Any, ...]  # floating-point tensors are a `Ref`
    kwargs: Mapping[str, Any]
    reads: tuple[int, ...]  # values
    writes: tuple[int, ...]
    calls: tuple[int, ...]  # the running calls of modules, outermost first


@dataclass(slots=True)
class Call:
    """One call of a module."""

    number: int
    name: str
    module: nn.Module
    input: int | None = None  # value of its argument, if it has no other
    output: int | None = None  # value, if it returns one tensor


@dataclass
class Record:
    """What ran, in order."""

    values: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    outputs: set[int] = field(default_factory=set)  # values that the network returns
    readers: defaultdict[int, list[int]] = field(default_factory=lambda: defaultdict(list))  # value -> ops
    names: dict[int, list[str]] = field(default_factory=dict)  # id of a parameter -> its names
    parameters: dict[int, int] = field(default_factory=dict)  # id of a parameter -> value

    def uses(self, parameter: Tensor) -> list[int]:
        """Numbers of the ops that read a parameter."""
        value = self.parameters.get(id(parameter))
        return [] if value is None else self.readers[value]

    def module_of(self, op: Op) -> Call | None:
        """The innermost call of a module that an op is in."""
        return self.calls[op.calls[-1]] if op.calls else None

    def where(self, op: Op) -> str:
        """An op in words."""
        call = self.module_of(op)
        return f"'{op.name}'" + (f" in {call.name}" if call is not None else "")

    def layer(self, parameter: Tensor, op: Op) -> str:
        """The name of a weight as a layer: where it has several, that of the running module."""
        names = self.names[id(parameter)]
        call = self.module_of(op)
        return call.name if call is not None and call.name in names else names[0]


class Recorder(TorchFunctionMode):
    """Context in which a `Record` is made of what runs; calls: numbers of the calls of the network, None for all."""

    def __init__(self, module: nn.Module, calls: Collection[int] | None = None) -> None:
        super().__init__()
        self.record = Record()
        self._calls, self._call = calls, 0  # what runs between two calls counts to the later one
        self._module = module
        self._known: dict[int, tuple[weakref.ref[Tensor], int, int]] = {}  # id -> tensor, value, version
        self._stack: list[int] = []
        self._handles: list[RemovableHandle] = []
        self._parameters = {id(p): p for p in module.parameters()}
        for name, parameter in module.named_parameters(remove_duplicate=False):
            layer = ROOT if name == "weight" else name.removesuffix(".weight")
            self.record.names.setdefault(id(parameter), []).append(layer)

    def __enter__(self) -> Recorder:
        for name, module in self._module.named_modules():
            self._hook(name or ROOT, module)
        TorchFunctionMode.__enter__(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        TorchFunctionMode.__exit__(self, *exc)
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str, module: nn.Module) -> None:
        def enter(_module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            if not self._watches():
                return
            call = Call(len(self.record.calls), name, module)
            given = [*args, *(each for each in kwargs.values() if each is not None)]
            with torch._C.DisableTorchFunction():
                if len(given) == 1 and _is_float(given[0]):
                    call.input = self._value(given[0])
            self.record.calls.append(call)
            self._stack.append(call.number)

        def leave(_module: nn.Module, _args: object, output: Any) -> None:
            watches = self._watches()
            self._call += name == ROOT
            if not watches:
                return
            call = self.record.calls[self._stack.pop()]
            with torch._C.DisableTorchFunction():
                if _is_float(output):
                    call.output = self._value(output)
                if name == ROOT:
                    self.record.outputs |= {self._value(each) for each in leaves(output) if _is_float(each)}

        self._handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        self._handles.append(module.register_forward_hook(leave, always_call=True))

    def _watches(self) -> bool:
        return self._calls is None or self._call in self._calls

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if not self._watches():
            return func(*args, **given)
        if func in OPENED:
            with Reentered(self):
                return OPENED[func](*args, **given)
        reads: list[int] = []
        before: dict[int, int] = {}  # id of a tensor that is read -> its version

        def ref(leaf: Any) -> Any:
            if not _is_float(leaf):
                return leaf
            reads.append(self._value(leaf))
            before[id(leaf)] = _version(leaf)
            return Ref(reads[-1])

        kept_args, kept_kwargs = tree_map(ref, args), tree_map(ref, given)
        result = func(*args, **given)
        name = name_of(func)
        floats = [leaf for leaf in tree_leaves(result) if _is_float(leaf)]
        if len(floats) == 1 and before.get(id(floats[0])) == _version(floats[0]):
            return result  # the tensor itself: a cast to its own type, a dropout in evaluation
        if (floats or (reads and name not in HARMLESS)) and (floats or not _is_property(func)):
            number = len(self.record.ops)
            for value in dict.fromkeys(reads):
                self.record.readers[value].append(number)
            writes = tuple(self._new(leaf, number) for leaf in floats)
            op = Op(number, name, func, kept_args, kept_kwargs, tuple(reads), writes, tuple(self._stack))
            self.record.ops.append(op)
        return result

    def _value(self, tensor: Tensor) -> int:
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor and known[2] == _version(tensor):
            return known[1]
        return self._new(tensor, None)

    def _new(self, tensor: Tensor, producer: int | None) -> int:
        number = len(self.record.values)
        parameter = self._parameters.get(id(tensor))
        self.record.values.append(Value(tuple(tensor.shape), parameter, producer))
        if parameter is not None:
            self.record.parameters.setdefault(id(parameter), number)
        self._known[id(tensor)] = (weakref.ref(tensor), number, _version(tensor))
        return number


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def _version(tensor: Tensor) -> int:
    """How often a tensor was written to; 0 where torch does not count."""
    with contextlib.suppress(RuntimeError), torch._C.DisableTorchFunction():
        return tensor._version
    return 0


def _is_property(func: Any) -> bool:
    return getattr(func, "__name__", "") == "__get__"


def name_of(func: Any) -> str:
    """The name of a torch function: ``add`` for add_, __add__ and __iadd__; that of a property."""
    if _is_property(func):
        return str(getattr(func.__self__, "__name__", "get"))
    name = str(getattr(func, "__name__", func)).partition(".")[0]
    return name.strip("_") or name
