"""Tiny random models, built once: tests must leave them as they found them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from janusflow.inference.pipeline import JanusFlow
from janusflow.model.modeling import JanusFlowForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_model import save_tiny, tiny_janusflow


@pytest.fixture(scope="session")
def jf() -> JanusFlow:
    return tiny_janusflow()


@pytest.fixture(scope="session")
def model(jf: JanusFlow) -> JanusFlowForConditionalGeneration:
    return jf.model


@pytest.fixture(scope="session")
def vae(jf: JanusFlow) -> AutoencoderKL:
    return jf.vae


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder on disk, in our layout."""
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


class PositionCount:
    """Positions fed to the LLM, over all rows, and its calls."""

    def __init__(self) -> None:
        self.positions = 0
        self.calls = 0

    def __call__(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeds = kwargs.get("inputs_embeds")
        tokens = kwargs["input_ids"] if embeds is None else embeds
        self.positions += tokens.shape[0] * tokens.shape[1]
        self.calls += 1


@pytest.fixture
def llm_count(model: JanusFlowForConditionalGeneration) -> Iterator[PositionCount]:
    """Counts what the LLM reads while the test runs."""
    count = PositionCount()
    hook = model.llm.base_model.register_forward_pre_hook(count, with_kwargs=True)
    yield count
    hook.remove()
