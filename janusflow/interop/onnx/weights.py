"""Weights of several graphs in one file, each once.

Constants are compared by their content: graphs of one model hold the same weights under names that
the exporter gave them.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx_ir as ir

from janusflow.config.errors import ConfigError

LEAST_ELEMENTS = 1024
"""Smaller constants stay in the graphs, as they are."""
ALIGNMENT = 64
"""Bytes; onnxruntime reads aligned weights where they are."""


@dataclass(eq=False, kw_only=True)
class WeightFile:
    """A file that grows by the weights of one graph after another."""

    path: Path
    file: BinaryIO
    """`path`, open for writing."""
    dtype: str
    """float32, or float16: weights are stored so, and computed with in float32."""
    _offsets: dict[str, int] = field(default_factory=dict, init=False)

    def take_weights(self, model: ir.Model) -> None:
        """Move a graph's weights into the file; the graph refers to them from now on.

        Raises:
            ConfigError: a weight is no float16 number.
        """
        graph = model.graph
        for name, value in list(graph.initializers.items()):
            tensor = value.const_value
            if tensor is None or tensor.size < LEAST_ELEMENTS or tensor.dtype != ir.DataType.FLOAT:
                continue
            array = np.ascontiguousarray(tensor.numpy())
            if self.dtype == "float32":
                value.const_value = self._stored(name, array)
                continue
            halves = _halved(array, name)
            stored = ir.Value(name=f"{name}_{self.dtype}", const_value=self._stored(name, halves))
            stored.shape, stored.type = ir.Shape(array.shape), ir.TensorType(ir.DataType.FLOAT16)
            widened = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT})
            (output,) = widened.outputs
            value.replace_all_uses_with(output, replace_graph_outputs=True)
            del graph.initializers[name]
            output.name, output.shape, output.type = name, value.shape, value.type
            graph.register_initializer(stored)
            graph.insert_before(graph[0], widened)

    def _stored(self, name: str, array: np.ndarray) -> ir.ExternalTensor:
        """Where the array is in the file: appended, if its bytes are not in it yet."""
        data = array.tobytes()
        key = hashlib.sha256(data).hexdigest()
        if key not in self._offsets:
            self.file.write(b"\0" * (-self.file.tell() % ALIGNMENT))
            self._offsets[key] = self.file.tell()
            self.file.write(data)
        return ir.ExternalTensor(
            self.path.name,
            self._offsets[key],
            len(data),
            ir.DataType.from_numpy(array.dtype),
            name=name,
            shape=ir.Shape(array.shape),
            base_dir=self.path.parent,
        )


def _halved(array: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        halves = array.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ConfigError(
            f"weights of {name} reach {np.abs(array).max():g}, beyond float16: use dtype float32."
        )
    return halves
