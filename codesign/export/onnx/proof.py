"""What an ONNX file holds and computes: codes, scales and outputs against those of the scored network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codesign.errors import CodesignError
from codesign.export.onnx.graph import Interface
from codesign.export.onnx.weights import CODES, OUTER, SCALES, ZEROS, stored
from codesign.export.proof import check_equal, sqnr_db
from codesign.export.scored import Call, Operand, ScoredLayer, ScoredNetwork
from codesign.quality.quantized import opened


@dataclass(frozen=True)
class Compared:
    """Outputs of ONNX Runtime against those of the scored network, and of that against the float one."""

    sqnr_db: float
    loss_db: float


def check_weights(path: Path, network: ScoredNetwork) -> int:
    """The number of layers whose codes, scales and zero points in a file are those that were scored, bit for bit, and
    which ONNX Runtime dequantizes to the scored weights; raises CodesignError for one that differs."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    held = {each.name: each for each in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    count = 0
    for name, layer in network.layers.items():
        if layer.formats.weight is None or layer.weight_format.name == "fp32":
            continue
        wanted = stored(network, layer)
        parts = {CODES: wanted.codes, SCALES: wanted.scales, ZEROS: wanted.zero_points, OUTER: wanted.outer}
        for part, array in parts.items():
            if array is not None:
                found = numpy_helper.to_array(_initializer(held, f"{name}.weight.{part}", layer))
                check_equal(name, part, _tensor(found), _tensor(np.asarray(array)))
        check_equal(name, "weights", _dequantized(model, held, made, name), network.values(name).float())
        count += 1
    return count


def check_roundings(path: Path, network: ScoredNetwork) -> None:
    """Raise CodesignError unless ONNX Runtime rounds as the scored network does, bit for bit, wherever that is done
    number by number: with a calibrated scale, and by casts. (What rounding costs is too close to what a wrong or
    missing rounding would cost to be told by the outputs.)"""
    import onnx

    model = onnx.load(str(path), load_external_data=False)  # which holds large tensors alone
    held = {each.name: each for each in model.graph.initializer}
    written: set[tuple[str, Any]] = set()
    wanted: dict[tuple[str, Any], str] = {}
    for name, layer in network.layers.items():
        for operand in layer.operands.values():
            if operand.format.name == "fp32" or (operand.scale is None and not operand.format.is_cast):
                continue
            key = operand.format.name, operand.range
            wanted.setdefault(key, f"layer '{name}': its {operand.name}")
            nodes = [node for node in model.graph.node if node.name.startswith(f"{name}.{operand.name}/")]
            if not nodes:  # layers that read one tensor in one way share what rounds it
                continue
            written.add(key)
            x = _numbers(operand)
            right = operand.format.fake_quantize(x, amax=operand.range)
            check_equal(name, f"numbers of its {operand.name}", _alone(model, held, nodes, name, x), right)
    for key, operand_text in wanted.items():
        if key not in written:
            raise CodesignError(f"{operand_text} is not rounded in the file")


def _numbers(operand: Operand) -> Tensor:
    """Numbers inside and outside of what an operand's format holds."""
    x = torch.randn(2048, generator=torch.Generator().manual_seed(0))
    return x * (operand.scale or 1.0) * min(operand.format.element.max_value, 1e30)


def compared(path: Path, interface: Interface, network: ScoredNetwork, calls: Sequence[Call]) -> Compared:
    """Run ONNX Runtime on the inputs of calls."""
    run = session(path)
    found: list[float] = []
    lost: list[float] = []
    for call in calls:
        try:
            returned = run.run(list(interface.outputs), {k: x.numpy() for k, x in interface.feed(call).items()})
        except Exception as error:  # its classes have no common one of their own
            raise CodesignError(f"onnxruntime does not run what was written: {str(error).splitlines()[0]}") from error
        found.append(sqnr_db([torch.from_numpy(x) for x in returned], call.output))
        with torch.no_grad(), opened(network.module) as module:
            lost.append(sqnr_db(call.output, module(*call.args, **call.kwargs)))
    return Compared(min(found), min(lost))


def session(path: Path, threads: int = 0) -> Any:
    """ONNX Runtime with a file, on a CPU, with all graph optimisations on (which is also its default)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or torch.get_num_threads()
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no common one of their own
        raise CodesignError(f"onnxruntime does not open what was written: {str(error).splitlines()[0]}") from None


def _dequantized(model: Any, held: dict[str, Any], made: dict[str, Any], name: str) -> Tensor:
    """A layer's weight as ONNX Runtime dequantizes it, in the shape of its parameter."""
    nodes = [node for node in model.graph.node if node.name.startswith(f"{name}.weight/")]
    return _alone(model, held, nodes, name, None)


def _alone(model: Any, held: dict[str, Any], nodes: Sequence[Any], name: str, x: Tensor | None) -> Tensor:
    """What the last of some nodes of a graph gives for their one input, which is none for a weight."""
    import onnx
    import onnxruntime
    from onnx import helper

    constants: dict[str, Any] = {}
    inside = {output for node in nodes for output in node.output}
    for node in nodes:
        constants |= {each: held[each] for each in node.input if each in held}
    given = {each for node in nodes for each in node.input if each and each not in inside and each not in held}
    if len(given) != (x is not None):
        raise CodesignError(f"layer '{name}': a weight or a rounding in the file depends on something else")
    last = nodes[-1].output[0]
    value = helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None)
    inputs = [helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, None) for each in given]
    graph = helper.make_graph(nodes, "part", inputs, [value], list(constants.values()))
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    run = onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return torch.from_numpy(run.run(None, {} if x is None else dict.fromkeys(given, x.numpy()))[0])


def _initializer(held: dict[str, Any], name: str, layer: ScoredLayer) -> Any:
    if name not in held:
        raise CodesignError(f"layer '{layer.name}': the file holds no '{name}'")
    return held[name]


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.float64))
