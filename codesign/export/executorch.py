"""``model.pte``: a network of torchao's tensors, lowered to ExecuTorch with XNNPACK, run, and compared."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves

from codesign.errors import InputError
from codesign.export.proof import EQUAL_DB, sqnr_db
from codesign.export.scored import Call, ScoredNetwork
from codesign.targets import get_target

PROGRAM = "model.pte"


def installed() -> bool:
    """Whether ExecuTorch can be imported."""
    return importlib.util.find_spec("executorch") is not None


def packages(folder: Path) -> tuple[str, ...]:
    """The package that made the program of a folder, if it has one."""
    return ("executorch",) if (folder / PROGRAM).exists() else ()


def write(network: ScoredNetwork, module: nn.Module, calls: list[Call], folder: Path, least_db: float) -> list[str]:
    """Write ``model.pte`` where ExecuTorch is installed and can hold the network; what there is to say of it, in words.

    module: the network with tensors of torchao, which is lowered for the shapes of the first of `calls`.
    least_db: SQNR of outputs, against the scored network, below which nothing is written.
    """
    if not installed():
        return []
    from codesign.export.networks import check_network

    try:
        check_network(get_target("executorch"), network)
    except InputError as error:
        return [f"no {PROGRAM}: {str(error).partition(';')[0]}"]
    call = calls[0]
    with _silent():
        try:
            program = lowered(module, call)
            outputs = run(program, call)
        except Exception as error:  # whatever a compiler of others raises, the export to torchao stands
            return [f"no {PROGRAM}: ExecuTorch does not take this network ({_first_line(error)})"]
    wanted = [x for x in tree_leaves(call.output) if isinstance(x, Tensor)]
    found = sqnr_db(outputs, wanted)
    if not found >= least_db:
        return [f"no {PROGRAM}: ExecuTorch computes something else than was scored (SQNR {found:.1f} dB)"]
    (folder / PROGRAM).write_bytes(program)
    equal = "bit-identical outputs" if found >= EQUAL_DB else f"SQNR {found:.1f} dB"
    return [f"{PROGRAM}: {equal} in ExecuTorch with XNNPACK, for the shapes of one call{_groups(network)}"]


def lowered(module: nn.Module, call: Call) -> bytes:
    """The program of a module for inputs shaped as those of a call."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    with torch.no_grad():
        exported = torch.export.export(module, call.args, dict(call.kwargs))
        edge: Any = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        return bytes(edge.to_executorch().buffer)


def run(program: bytes, call: Call) -> list[Tensor]:
    """The outputs of a program for the inputs of a call."""
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(program).load_method("forward")
    inputs, _ = tree_flatten((call.args, dict(call.kwargs)))
    found = method.execute([x for x in inputs if x is not None])
    return [x for x in found if isinstance(x, Tensor)]


def _groups(network: ScoredNetwork) -> str:
    grouped = sum(layer.weight_format.is_block for layer in network.weighted.values())
    return f"; XNNPACK holds the scales of groups of {grouped} layers in bfloat16" if grouped else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


@contextmanager
def _silent() -> Iterator[None]:
    """Without what ExecuTorch logs while it lowers."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
