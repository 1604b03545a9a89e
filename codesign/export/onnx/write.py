"""``codesign export --to onnx``: a network in one file that ONNX Runtime opens and runs, and the comparison with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from codesign.errors import InputError
from codesign.export.networks import deviations
from codesign.export.onnx.graph import OPSET, Interface, marked_graph
from codesign.export.onnx.proof import check_roundings, check_weights, compared
from codesign.export.onnx.qdq import quantize
from codesign.export.origin import Origin
from codesign.export.proof import Proof, check_sqnr
from codesign.export.scored import ScoredNetwork
from codesign.targets import get_target

MODEL, DATA = "model.onnx", "model.onnx.data"
LEAST_EXACT_DB = 80.0
"""Least SQNR of a network that rounds no activation: only the order of its float32 sums differs, which costs 110 to
140 dB, and what a network's layers make of that."""
LEAST_ROUNDED_DB = 30.0
"""Least SQNR of a network that rounds activations, or what its formats cost, if that is less: where a sum differs in
its last bit, a number next to the middle between two codes takes the other one, a whole step, which the layers behind
it spread. Usual are 130 dB where no number does, and 30 to 70 dB where one does; SmolLM2-135M with activations in
int8_token differs from *itself* by 26 to 29 dB if its embeddings change by 1e-6, and from ONNX Runtime by 27. Each
rounding alone is equal bit for bit (tests/export/test_onnx.py), as weights are in every file."""
_CALLS = 2  # that are compared
_MOST_BYTES = 1_900_000_000  # of one file: protobuf ends at 2**31


def write_onnx(network: ScoredNetwork, origin: Origin, folder: Path) -> Proof:
    """``model.onnx``, with QuantizeLinear and DequantizeLinear around the float32 products of each layer.

    Weights of more than 1.9 GB lie beside it in ``model.onnx.data``. Batch, and the length of a text, may vary where
    the network allows it. The file is opened again by onnx, whose checker reads it, and by ONNX Runtime on a CPU with
    all graph optimisations on; see `codesign.export.onnx.proof` for what is compared.

    Raises InputError for what ONNX cannot hold, naming the layer; CodesignError if the file is not what was scored.
    """
    calls = network.calls(_CALLS)
    if not calls:
        raise InputError("the evaluation of this network does not call it")
    marked = marked_graph(network, calls)
    quantize(network, marked.model)
    _describe(marked.model, origin)
    path = save(marked.model, folder)
    layers = check_weights(path, network)
    check_roundings(path, network)
    found = compared(path, marked.interface, network, calls)
    rounds = any(o.format.name != "fp32" for layer in network.layers.values() for o in layer.operands.values())
    least = min(LEAST_ROUNDED_DB, found.loss_db) if rounds else LEAST_EXACT_DB
    check_sqnr(found.sqnr_db, least, "onnxruntime")
    told = (*deviations(get_target("onnxruntime"), network), *_fixed(marked.interface, calls))
    return Proof(
        "onnxruntime",
        layers,
        found.sqnr_db,
        len(calls),
        found.loss_db,
        told,
        ("onnx", "onnxruntime", "onnxscript", "onnx_ir"),
    )


def save(model: Any, folder: Path) -> Path:
    """Write a `onnx_ir.Model` to ``model.onnx``, checked by onnx; returns its path."""
    import onnx
    import onnx_ir as ir

    path = folder / MODEL
    size = sum(x.const_value.nbytes for x in model.graph.initializers.values())
    if size > _MOST_BYTES:
        ir.save(model, path, external_data=DATA)
    else:
        ir.save(model, path)
    onnx.checker.check_model(str(path), full_check=True)
    return path


def _describe(model: Any, origin: Origin) -> None:
    model.producer_name = "codesign"
    model.graph.name = origin.task
    model.metadata_props.update({"codesign.study": origin.study, "codesign.design": origin.design})
    for node in model.graph:  # torch's notes about its own steps, several times the size of the nodes
        node.metadata_props.clear()
        node.doc_string = None
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
    assert model.opset_imports[""] == OPSET


def _fixed(interface: Interface, calls: Any) -> tuple[str, ...]:
    if interface.dynamic:
        return ()
    shapes = {name: tuple(x.shape) for name, x in interface.feed(calls[0]).items() if isinstance(x, torch.Tensor)}
    return (f"takes inputs of these shapes only: {shapes}",)
