"""Claims about the file of weights, on graphs of one multiplication."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from janusflow.config.errors import ConfigError
from janusflow.interop.onnx.weights import LEAST_ELEMENTS, WeightFile

SIDE = 64
assert SIDE * SIDE >= LEAST_ELEMENTS


def product(weight: np.ndarray, name: str) -> ir.Model:
    """x -> x @ weight + bias, with a bias that is small."""
    x = ir.Value(name="x", shape=ir.Shape([2, SIDE]), type=ir.TensorType(ir.DataType.FLOAT))
    values = {name: weight, "bias": np.full(SIDE, 1 / 3, np.float32)}
    held = {
        key: ir.Value(
            name=key,
            shape=ir.Shape(value.shape),
            type=ir.TensorType(ir.DataType.FLOAT),
            const_value=ir.tensor(value, name=key),
        )
        for key, value in values.items()
    }
    multiplied = ir.node("MatMul", [x, held[name]])
    added = ir.node("Add", [multiplied.outputs[0], held["bias"]])
    (output,) = added.outputs
    output.name, output.type = "y", ir.TensorType(ir.DataType.FLOAT)
    output.shape = ir.Shape([2, SIDE])
    graph = ir.Graph(
        [x], [output], nodes=[multiplied, added], initializers=list(held.values()),
        opset_imports={"": 20}, name="product",
    )  # fmt: skip
    return ir.Model(graph, ir_version=10)


def written(folder: Path, models: dict[str, ir.Model], *, dtype: str) -> int:
    path = folder / "weights.bin"
    with path.open("wb") as file:
        weights = WeightFile(path=path, file=file, dtype=dtype)
        for name, model in models.items():
            weights.take_weights(model)
            ir.save(model, folder / f"{name}.onnx")
    return path.stat().st_size


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return y


@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("float16", 2)])
def test_equal_weights_are_held_once_under_any_name(tmp_path: Path, dtype: str, size: int):
    rng = np.random.default_rng(0)
    one, other = (rng.normal(size=(SIDE, SIDE)).astype(np.float32) for _ in range(2))
    models = {"a": product(one, "w"), "b": product(one.copy(), "v"), "c": product(other, "w")}
    assert written(tmp_path, models, dtype=dtype) == 2 * SIDE * SIDE * size
    x = rng.normal(size=(2, SIDE)).astype(np.float32)
    bias = np.float32(1 / 3)
    for name, weight in (("a", one), ("b", one), ("c", other)):
        stored = weight.astype(dtype).astype(np.float32)
        np.testing.assert_allclose(
            run(tmp_path / f"{name}.onnx", x), x @ stored + bias, atol=1e-5, rtol=1e-5
        )


def test_weights_beyond_float16_are_refused(tmp_path: Path):
    weight = np.zeros((SIDE, SIDE), np.float32)
    weight[0, 0] = 70000.0
    with pytest.raises(ConfigError, match="w reach 70000, beyond float16: use dtype float32"):
        written(tmp_path, {"a": product(weight, "w")}, dtype="float16")
