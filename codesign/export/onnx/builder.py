"""Nodes and constants that are written into a graph of `onnx_ir`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Value = Any  # onnx_ir.Value: the library is imported where it is used


class Builder:
    """Inserts nodes of ONNX's own operators before the node `at`, or at the end, and names them after what they belong
    to."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.at: Any = None
        self.prefix = ""
        self._names: dict[str, int] = {}
        self._constants: dict[tuple[str, bytes, tuple[int, ...]], Value] = {}

    def __call__(
        self, op: str, *inputs: Value | None, shape: Any = None, dtype: Any = None, **attributes: Any
    ) -> Value:
        """The output of a new node."""
        import onnx_ir as ir

        name = self._named(op)
        node = ir.node(op, list(inputs), attributes, name=name)
        node.outputs[0].name = f"{name}_out"
        node.outputs[0].dtype = ir.DataType.FLOAT if dtype is None else dtype
        node.outputs[0].shape = shape
        if self.at is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(self.at, node)
        return node.outputs[0]

    def tensor(self, name: str, array: NDArray[Any], dtype: Any = None) -> Value:
        """An initializer of a name of its own; dtype: of ONNX, where NumPy has none for it."""
        import onnx_ir as ir

        tensor = ir.tensor(array, dtype=dtype, name=name)
        value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def number(self, x: float, dtype: Any = None) -> Value:
        """A scalar, float32 unless it is said otherwise; the same one for equal numbers."""
        return self._constant(np.asarray(x, dtype=np.float32 if dtype is None else dtype))

    def integers(self, xs: Sequence[int]) -> Value:
        """A vector of int64, as shapes and axes are."""
        return self._constant(np.asarray(xs, dtype=np.int64))

    def _constant(self, array: NDArray[Any]) -> Value:
        key = str(array.dtype), array.tobytes(), array.shape
        if key not in self._constants:
            self._constants[key] = self.tensor(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    def _named(self, op: str) -> str:
        name = f"{self.prefix}/{op}"
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"
