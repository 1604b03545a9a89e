"""The graph of a float network in ONNX, in which the operands of every layer are marked by its name.

The names come from the interceptor that also scores networks (`codesign.workload.ProductInterceptor`): it runs while
`torch.export` traces the module, and puts a node ``codesign::Operand`` around each operand that an assignment rounds.
So a node of the graph belongs to a layer by construction, also where several layers share a module, where a layer is a
slice of a parameter, and for both products of an attention, which are written out. (The ``name_scopes`` of torch's
exporter name modules, of which these cases have too few.)
"""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_unflatten

from codesign.errors import InputError
from codesign.export.scored import Call, ScoredNetwork
from codesign.models.directories.imports import errors_alone
from codesign.models.streaming import is_streamed
from codesign.quality.ranges import sites
from codesign.workload import Product, ProductInterceptor

OPSET = 21  # the first with blocks along an axis and 4-bit integers
DOMAIN, MARK = "codesign", "Operand"
WEIGHT = "weight"


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a network's graph."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    places: tuple[int, ...]  # of the inputs in the flattened arguments of a call
    dynamic: bool  # whether batch and, of tokens, length may differ from those of the calls it was traced with

    def feed(self, call: Call) -> dict[str, Tensor]:
        """The inputs of a call by name."""
        leaves = _leaves((call.args, dict(call.kwargs)))
        return {name: leaves[place] for name, place in zip(self.inputs, self.places, strict=True)}


@dataclass(frozen=True)
class Marked:
    """A graph with marks, a `onnx_ir.Model`, and what goes in and out."""

    model: Any
    interface: Interface


def marked_graph(network: ScoredNetwork, calls: Sequence[Call]) -> Marked:
    """The float network of `network`, as it was prepared, with a mark around each operand that is not float32."""
    module = network.module
    parameters = list(module.parameters())
    if any(is_streamed(module, each) for each in parameters):
        raise InputError("a network that is read block by block is not exported to ONNX: give it memory (memory_gib)")
    types = {each.dtype for each in parameters if each.is_floating_point()}
    if types - {torch.float32}:
        raise InputError(f"a network of {', '.join(sorted(map(str, types)))} is not exported to ONNX: float32 is")
    given = (calls[0].args, dict(calls[0].kwargs))
    leaves, spec = tree_flatten_with_path(given)
    places = [place for place, (_, leaf) in enumerate(leaves) if isinstance(leaf, Tensor)]
    _check_constants(calls, places)
    inputs = _unique([_name(module, leaves[place][0]) for place in places])
    outputs = _unique([_key(path) or "output" for path, leaf in _flat(calls[0].output) if isinstance(leaf, Tensor)])
    wrapped = _Positional(module, [leaf for _, leaf in leaves], spec, places, _marker(network))
    tensors = [leaves[place][1] for place in places]
    with _explained(), _quiet(), torch.no_grad():
        dynamic = True
        try:
            program = _traced(wrapped, *_example(tensors))
        except Exception:  # whatever torch raises of a module whose shapes cannot vary
            dynamic = False
            program = _traced(wrapped, tensors, None)
        converted = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            verbose=False,
        )
    assert converted is not None
    return Marked(converted.model, Interface(tuple(inputs), tuple(outputs), tuple(places), dynamic))


class _Positional(nn.Module):
    """A module whose inputs are tensors by position, and whose outputs are a tuple of tensors."""

    def __init__(self, module: nn.Module, leaves: list[Any], spec: Any, places: list[int], handler: Any) -> None:
        super().__init__()
        self.module = module
        self._constants, self._spec, self._places, self._handler = leaves, spec, places, handler

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        leaves = list(self._constants)
        for place, x in zip(self._places, tensors, strict=True):
            leaves[place] = x
        args, kwargs = tree_unflatten(leaves, self._spec)
        # with an observer, the interceptor computes attention without writing into memory that it knows
        with ProductInterceptor(self.module, self._handler, after=lambda _product, _output: None, decompose=True):
            found = self.module(*args, **kwargs)
        return tuple(leaf for leaf in _leaves(found) if isinstance(leaf, Tensor))


def _marker(network: ScoredNetwork) -> Any:
    """The interceptor's handler."""

    def mark(product: Product) -> tuple[Tensor, Tensor]:
        layer = network.layers.get(product.layer)
        if layer is None:
            raise InputError(f"layer '{product.layer}' runs on this data, but is not in the assignment")
        found = []
        for x, site in zip((product.input, product.stationary), sites(product), strict=True):
            name = WEIGHT if site is None else site[1]
            fmt = layer.weight_format if site is None else layer.operands[name].format
            found.append(x if fmt.name == "fp32" else _mark(x, product.layer, name))
        return found[0], found[1]

    return mark


def _mark(x: Tensor, layer: str, operand: str) -> Tensor:
    """A copy of a tensor by a node ``codesign::Operand`` of the traced graph."""
    from torch.onnx.ops import symbolic

    attributes: dict[str, Any] = {"layer": layer, "operand": operand}
    return symbolic(f"{DOMAIN}::{MARK}", (x,), attributes, dtype=x.dtype, shape=x.shape, version=1)


def _traced(module: nn.Module, tensors: Sequence[Tensor], shapes: Any) -> Any:
    wanted = None if shapes is None else (tuple(shapes),)
    return torch.export.export(module, tuple(tensors), dynamic_shapes=wanted, strict=False)


def _example(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Any]]:
    """Inputs to trace with, at least two samples in each, and which of their dimensions may vary."""
    batch = next((len(x) for x in tensors if x.ndim), 0)
    examples: list[Tensor] = []
    shapes: list[Any] = []
    for x in tensors:
        if x.ndim == 0 or len(x) != batch:
            examples.append(x)
            shapes.append({})
            continue
        examples.append(torch.cat([x, x]) if batch == 1 else x)
        tokens = x.ndim == 2 and not x.is_floating_point()
        shapes.append(dict.fromkeys(range(2 if tokens else 1), torch.export.Dim.AUTO))
    return examples, shapes


def _check_constants(calls: Sequence[Call], places: Sequence[int]) -> None:
    """Raise InputError if an argument that is no tensor differs between calls: the graph would hold the first one."""
    known = set(places)
    first, *others = ([x for i, x in enumerate(_leaves(_given(call))) if i not in known] for call in calls)
    for other in others:
        if other != first:
            raise InputError(f"an argument of the network that is no tensor differs between calls: {first}, {other}")


def _given(call: Call) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    return call.args, dict(call.kwargs)


def _flat(tree: Any) -> list[tuple[Any, Any]]:
    return list(tree_flatten_with_path(tree)[0])


def _leaves(tree: Any) -> list[Any]:
    return [leaf for _, leaf in _flat(tree)]


def _name(module: nn.Module, path: Sequence[Any]) -> str:
    """The name of an input: that of the argument, with keys inside it."""
    where, first, *inside = path
    if where.idx == 1:
        return _key((first, *inside))
    names = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    name = names[first.idx] if first.idx < len(names) else f"input_{first.idx}"
    return "_".join(filter(None, (name, _key(inside))))


def _key(path: Sequence[Any]) -> str:
    return "_".join(str(getattr(each, "key", getattr(each, "idx", getattr(each, "name", "")))) for each in path)


def _unique(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        plain = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
        plain = f"output_{plain}" if plain.isdigit() else plain
        found.append(plain if plain not in found else f"{plain}_{len(found)}")
    return found


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """What torch raises of a module that it cannot write as a graph is one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # its exporter raises whatever its steps do
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
        raise InputError(f"torch cannot write this network as an ONNX graph: {lines[0][:200]}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch prints of its steps."""
    loggers = errors_alone("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
    with loggers, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
