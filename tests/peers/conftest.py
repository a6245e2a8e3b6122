"""The embedded model, loaded once: tests must leave it as they found it."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import janusflow
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.hub import find_model

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_model import save_tiny, tiny_janusflow

DEVICES = [
    "cpu",
    *(["cuda"] if torch.cuda.is_available() else []),
    *(["mps"] if torch.backends.mps.is_available() else []),
]


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def mini() -> JanusFlow:
    return janusflow.load("mini", device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def mini_folder() -> Path:
    return find_model("mini")


@pytest.fixture(scope="session")
def tiny() -> JanusFlow:
    """Random weights: images are noise, answers gibberish, and both take no time."""
    return tiny_janusflow()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on disk, in our layout."""
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def image(mini: JanusFlow) -> Image.Image:
    """What mini knows: a shape on a plain ground."""
    return mini.generate("a red circle", seed=0, plan="never", steps=10)[0]
