"""Exported models for the tests of several folders: mini, made once, and onnxruntime over any."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor


@cache
def exported_mini() -> Path:
    """mini with float16 weights; tests must leave it as it is. Made in a minute of one core."""
    folder = Path(tempfile.mkdtemp(prefix="janusflow-onnx-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # A process of its own, where no test's checks of shapes are traced.
    command = ["janusflow.cli.main", "export", "onnx", "mini", str(folder / "mini")]
    subprocess.run([sys.executable, "-m", *command, "--dtype", "float16"], check=True)
    return folder / "mini"


class OnnxFolder:
    """The graphs of a folder as functions of tensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def run(self, name: str, **inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs of the graph of this name."""
        if name not in self._sessions:
            self._sessions[name] = onnxruntime.InferenceSession(
                self.folder / f"{name}.onnx", providers=["CPUExecutionProvider"]
            )
        given = {key: value.numpy() for key, value in inputs.items()}
        return tuple(map(torch.from_numpy, self._sessions[name].run(None, given)))
