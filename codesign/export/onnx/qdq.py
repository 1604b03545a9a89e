"""Puts the scored codes, scales and roundings of activations in place of the marks of a graph."""

from __future__ import annotations

from typing import Any

from codesign.errors import CodesignError
from codesign.export.onnx import activations, weights
from codesign.export.onnx.builder import Builder, Value
from codesign.export.onnx.graph import DOMAIN, MARK, WEIGHT
from codesign.export.scored import ScoredNetwork

_PRODUCTS = ("MatMul", "Gemm", "Conv", "ConvTranspose")


def quantize(network: ScoredNetwork, model: Any) -> None:
    """Replace every mark of a `onnx_ir.Model` by what the scored network computes there, and drop float weights that
    nothing reads any more. Raises CodesignError if a layer has no mark; InputError for what ONNX cannot hold."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    graph = model.graph
    build = Builder(graph)
    placed: dict[Any, Value] = {}
    seen: set[tuple[str, str]] = set()
    for node in [node for node in graph if node.domain == DOMAIN and node.op_type == MARK]:
        layer = network.layers[node.attributes["layer"].as_string()]
        name = node.attributes["operand"].as_string()
        seen.add((layer.name, name))
        x = node.inputs[0]
        key: Any
        if name == WEIGHT:
            _check_static(layer.name, x)
            key = layer.name
        else:
            operand = layer.operands[name]
            multiplied = all(use.node.op_type in _PRODUCTS for use in node.outputs[0].uses())
            key = x, operand.format.name, operand.range, operand.axes, multiplied
        build.at = node
        if key not in placed:
            if name == WEIGHT:
                value = weights.emit(build, network, layer)
            else:
                x.shape = x.shape or node.outputs[0].shape
                value = activations.emit(build, layer.name, operand, x, multiplied=multiplied)
            placed[key] = value
            value.shape = node.outputs[0].shape
        node.outputs[0].replace_all_uses_with(placed[key])
        graph.remove(node, safe=True)
    _check_all(network, seen)
    model.opset_imports.pop(DOMAIN, None)
    RemoveUnusedNodesPass()(model)


def _check_static(layer: str, x: Value) -> None:
    """Raise CodesignError if a weight depends on the network's inputs, so that no file can hold it."""
    waiting, known = [x], set()
    while waiting:
        value = waiting.pop()
        if value is None or value in known:
            continue
        known.add(value)
        if value.is_graph_input():
            raise CodesignError(f"layer '{layer}': its weight is computed from the network's input, no file holds it")
        if value.producer() is not None:
            waiting.extend(value.producer().inputs)


def _check_all(network: ScoredNetwork, seen: set[tuple[str, str]]) -> None:
    wanted = {
        (layer.name, operand.name)
        for layer in network.layers.values()
        for operand in layer.operands.values()
        if operand.format.name != "fp32"
    }
    wanted |= {
        (layer.name, WEIGHT)
        for layer in network.layers.values()
        if layer.formats.weight is not None and layer.weight_format.name != "fp32"
    }
    for layer, operand in sorted(wanted - seen):
        raise CodesignError(f"layer '{layer}': its {operand} is not in the graph that torch traced")
