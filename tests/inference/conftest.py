"""Tiny random models, built once: tests must leave them as they found them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.hub import find_model
from janusflow.interop.saving import write_folder
from janusflow.model.modeling import JanusFlowForConditionalGeneration

sys.path.insert(0, str(Path(__file__).parents[1]))

from release_folder import write_release_folder
from tiny_model import qwen3_model, save_tiny, tiny_janusflow, tiny_processor, tiny_vae


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


@pytest.fixture(scope="session")
def stored_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of 16 bits: the embedded model, the release's layout, and tied embeddings in ours."""
    root = tmp_path_factory.mktemp("stored")
    for files in ("single", "sharded-bin"):
        write_release_folder(root / files, files=files)
        tiny_vae().save_pretrained(root / files / "vae")
    write_folder(
        root / "tied", model=qwen3_model().bfloat16(), processor=tiny_processor(), vae=tiny_vae()
    )
    return {"mini": find_model("mini")} | {each.name: each for each in root.iterdir()}


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
