"""A network and its Assignment as a Brevitas network that computes the same numbers.

Convolutions and linear layers are replaced by Brevitas layers (`QuantConv2d`, `QuantLinear`, ...) with the same
weights, scales and calibrated ranges. Brevitas has no layer for a product of two activations inside a user's own
attention module, so `QuantAttentionMixin` is added to the class of such a module: the four operands of its two
products, which `ProductInterceptor` intercepts, pass through Brevitas' `QuantIdentity`. Module names are unchanged.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from codesign.errors import InputError, nearest
from codesign.export.quantizers import (
    activation_quantizer,
    require_brevitas,
    supported,
    supported_names,
    takes_scales,
    weight_quantizer,
)
from codesign.export.weights import ROOT
from codesign.formats import Assignment, LayerFormats, get_format
from codesign.formats.format import datapath
from codesign.quality.ranges import Ranges
from codesign.workload import Product, ProductInterceptor

# of the operands (input, query, ...) of a layer: the largest magnitude, or (low, high) of a format with a zero point
Ends = Mapping[str, float | Sequence[float]]
OperandRanges = dict[str, dict[str, float | Sequence[float]]]  # by layer

_REPLACED: dict[type[nn.Module], str] = {
    nn.Linear: "QuantLinear",
    nn.Conv1d: "QuantConv1d",
    nn.Conv2d: "QuantConv2d",
    nn.Conv3d: "QuantConv3d",
}
_CONV_ARGUMENTS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")


@dataclass(frozen=True)
class QuantizedOperand:
    """An activation that a layer quantizes."""

    name: str  # as in `codesign.quality.ranges.Site`: input, query, key, probability or value
    format: str


def operands(formats: LayerFormats) -> list[QuantizedOperand]:
    """The activations that a layer quantizes: its input, or the four operands of attention."""
    if formats.weight is not None:
        return [QuantizedOperand("input", formats.activation)]
    if formats.key is None or formats.value is None:
        raise InputError(f"a layer needs a weight, or a key and a value: {formats.to_dict()}")
    streamed = formats.activation
    return [
        QuantizedOperand("query", streamed),
        QuantizedOperand("key", formats.key),
        QuantizedOperand("probability", streamed),
        QuantizedOperand("value", formats.value),
    ]


def check_formats(assignment: Assignment) -> None:
    """Raise InputError with the first layer whose format Brevitas lacks, and the formats that it has."""
    for layer, formats in assignment.layers:
        for role, name in formats.roles.items():
            fmt = get_format(datapath(name) if role == "weight" else name)  # as a weight, it is the plain format
            if not supported(fmt, role):
                which = f"a weight (method {formats.method})" if role == "weight" else "an activation"
                known = ", ".join(supported_names(role)) + (", by every method" if role == "weight" else "")
                raise InputError(f"layer '{layer}': Brevitas has no format '{name}' for {which}; it has {known}")


def operand_ranges(assignment: Assignment, ranges: Ranges) -> OperandRanges:
    """The calibrated range of every activation in a plain format (not a block format, not a cast)."""
    found: OperandRanges = {}
    for layer, formats in assignment.layers:
        for operand in operands(formats):
            fmt = get_format(operand.format)
            if fmt.takes_range:
                found.setdefault(layer, {})[operand.name] = ranges.get((layer, operand.name), fmt)
    return found


def build(module: nn.Module, assignment: Assignment, ranges: Mapping[str, Ends]) -> nn.Module:
    """A Brevitas network in eval mode; weights whose scales are given wait for them (`weights.give`, or a state).

    Args:
        module: the float network, which is copied and not changed.
        assignment: the formats of its layers.
        ranges: from `operand_ranges`.
    Raises:
        InputError: a format that Brevitas lacks, or a layer that is neither a plain convolution, a linear layer nor an
            attention.
    """
    require_brevitas()
    check_formats(assignment)
    network = copy.deepcopy(module)
    for layer, formats in assignment.layers:
        if formats.weight is not None:
            network = _replace(network, layer, formats, ranges.get(layer, {}))
    for layer, formats in assignment.layers:
        if formats.weight is None:
            _quantize_attention(network, layer, formats, ranges.get(layer, {}))
    return network.eval()


# ---- convolutions and linear layers ------------------------------------------------------------------


def _replace(network: nn.Module, layer: str, formats: LayerFormats, ranges: Ends) -> nn.Module:
    """`network` with a Brevitas layer at `layer`; the new layer if the network is that layer."""
    old = _submodule(network, layer)
    new = _layer(layer, old, formats, ranges)
    if old is network:
        return new
    parent, _, name = layer.rpartition(".")
    setattr(network.get_submodule(parent), name, new)
    return network


def _layer(layer: str, old: nn.Module, formats: LayerFormats, ranges: Ends) -> nn.Module:
    import brevitas.nn as qnn

    if type(old) not in _REPLACED:
        known = ", ".join(kind.__name__ for kind in _REPLACED)
        raise InputError(f"layer '{layer}': Brevitas has no counterpart of {type(old).__name__}; it has {known}")
    assert formats.weight is not None
    fmt = get_format(formats.activation)
    # what a sum runs over: of a convolution's input all but the batch, since each pixel is in those of its neighbours
    summed = (-1,) if isinstance(old, nn.Linear) else tuple(range(1 - old.get_parameter("weight").ndim, 0))
    quantizers = {
        "bias": old.bias is not None,
        "weight_quant": weight_quantizer(get_format(datapath(formats.weight)), given=takes_scales(formats)),
        "input_quant": activation_quantizer(fmt, -1 if isinstance(old, nn.Linear) else 1, ranges.get("input"), summed),
    }
    kind = getattr(qnn, _REPLACED[type(old)])
    if isinstance(old, nn.Linear):
        new = kind(old.in_features, old.out_features, **quantizers)
    else:
        arguments = {name: getattr(old, name) for name in _CONV_ARGUMENTS}
        new = kind(**arguments, padding_mode=old.padding_mode, **quantizers)
    # the Parameter objects stay Brevitas', as its proxies refer to them; their data are the network's
    new.weight.data = old.weight.data
    if old.bias is not None:
        new.bias.data = old.bias.data
    return _module(new)


# ---- attention ---------------------------------------------------------------------------------------


class QuantAttentionMixin(nn.Module):
    """A mixin that quantizes the operands of a module's attention products."""

    attention_quant: nn.ModuleDict  # product, numbered from "0" in order of execution -> operand -> quantizer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with _ActivationProducts(self, self._quantized, decompose=True):
            return super().__call__(*args, **kwargs)

    def _quantized(self, product: Product) -> tuple[Tensor, Tensor] | None:
        owner, _, index = product.layer.partition("#")
        if owner != ROOT or product.kind not in ("attention_qk", "attention_pv"):
            return None
        names = ("query", "key") if product.kind == "attention_qk" else ("probability", "value")
        quantizers = self.attention_quant.get_submodule(index or "0")
        assert isinstance(quantizers, nn.ModuleDict)
        first = _along(quantizers[names[0]], product.input, product.input_axis)
        return first, _along(quantizers[names[1]], product.stationary, product.stationary_axis)


class _ActivationProducts(ProductInterceptor):
    """Intercepts products of plain tensors only, not those of Brevitas layers, whose operands are QuantTensors."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if any(not issubclass(kind, Tensor) for kind in types):
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def _along(quantizer: nn.Module, x: Tensor, axis: int) -> Tensor:
    """Apply `quantizer`, whose blocks run along the last axis, along `axis` of `x`."""
    quantized: Tensor = quantizer(x.transpose(axis, -1)).transpose(axis, -1)
    return quantized


def _quantize_attention(network: nn.Module, layer: str, formats: LayerFormats, ranges: Ends) -> None:
    import brevitas.nn as qnn

    name, _, index = layer.partition("#")
    owner = _submodule(network, name)
    if not isinstance(owner, QuantAttentionMixin):
        owner.__class__ = _quant_class(type(owner))
        owner.add_module("attention_quant", nn.ModuleDict())
    quantizers = {
        operand.name: qnn.QuantIdentity(
            act_quant=activation_quantizer(get_format(operand.format), -1, ranges.get(operand.name))
        )
        for operand in operands(formats)
    }
    assert isinstance(owner, QuantAttentionMixin)
    owner.attention_quant[index or "0"] = nn.ModuleDict(quantizers)


def _quant_class(original: type[nn.Module]) -> type[nn.Module]:
    return type(f"Quant{original.__name__}", (QuantAttentionMixin, original), {"__module__": original.__module__})


def _submodule(network: nn.Module, layer: str) -> nn.Module:
    """The module called `layer`; raises InputError if the layer is no module, but a slice or a computed weight."""
    if layer == ROOT:
        return network
    try:
        return network.get_submodule(layer)
    except AttributeError:
        hint = nearest(layer, (name for name, _ in network.named_modules()))
        raise InputError(f"layer '{layer}' is no module of its own, which Brevitas needs{hint}") from None


def _module(new: Any) -> nn.Module:
    assert isinstance(new, nn.Module)
    return new
