"""A model of the release's layout and mini, loaded and exported."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jaxtyping
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from onnx_folders import OnnxFolder, exported_mini
from tiny_model import tiny_vae

from janusflow.inference.loading import load
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.onnx.export import export_onnx
from janusflow.interop.onnx.weights import LEAST_ELEMENTS


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A model, and its graphs in onnxruntime."""

    jf: JanusFlow
    onnx: OnnxFolder
    bytes_per_weight: int


@pytest.fixture(autouse=True, scope="session")
def unchecked() -> Iterator[None]:
    """Checks of shapes would be traced, and fix them."""
    was = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", was)


@pytest.fixture(scope="session")
def released(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Of the release's layout and causal, with float32 weights and another VAE."""
    folder = tmp_path_factory.mktemp("exported")
    tiny_vae().save_pretrained(folder / "vae")
    jf = load(release, device="cpu", dtype="float32", vae=folder / "vae")
    export_onnx(
        folder / "onnx",
        model=jf.model,
        processor=jf.processor,
        vae=jf.vae,
        image_size=jf.image_size,
        extra={"model": jf.name},
    )
    return Pair(jf=jf, onnx=OnnxFolder(folder / "onnx"), bytes_per_weight=4)


@pytest.fixture(scope="session")
def mini() -> Pair:
    """Bidirectional, with float16 weights, which the model that is compared has too."""
    jf = load("mini", device="cpu", dtype="float32")
    with torch.no_grad():
        for part in (jf.model, jf.vae):
            for weight in part.parameters():
                if weight.numel() >= LEAST_ELEMENTS:
                    weight.copy_(weight.half())
    return Pair(jf=jf, onnx=OnnxFolder(exported_mini()), bytes_per_weight=2)


@pytest.fixture(params=["released", "mini"])
def pair(request: pytest.FixtureRequest) -> Pair:
    """Each of the two."""
    return request.getfixturevalue(request.param)
