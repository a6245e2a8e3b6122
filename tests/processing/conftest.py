"""Processors around the reference's two tokenizers."""

import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from janusflow.processing.images import JanusFlowImageProcessor
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.tokenizer import load_tokenizer

sys.path.append(str(Path(__file__).parents[1]))  # release_format.py

CLASS_DEFAULT_TAGS = {"image_start_tag": "<begin_of_image>", "image_end_tag": "<end_of_image>"}
TINY_PATCHES = 36
"""Patches of 16 pixels in a 96-pixel image, the reference's small model."""


@pytest.fixture(scope="session")
def real_tokenizer(reference: Path) -> PreTrainedTokenizerFast:
    """The release's vocabulary, without image tags."""
    return load_tokenizer(reference / "tokenizer")


@pytest.fixture(scope="session")
def tiny_tokenizer(reference: Path) -> PreTrainedTokenizerFast:
    """The reference's byte tokenizer."""
    return PreTrainedTokenizerFast(tokenizer_file=str(reference / "tiny_tokenizer.json"))


@pytest.fixture(scope="session")
def tiny(tiny_tokenizer: PreTrainedTokenizerFast) -> JanusFlowProcessor:
    """The processor of the reference's small model, which has no system prompt."""
    return JanusFlowProcessor(
        image_processor=JanusFlowImageProcessor(image_size=96),
        tokenizer=tiny_tokenizer,
        **CLASS_DEFAULT_TAGS,
        num_image_tokens=TINY_PATCHES,
        system_prompt="",
    )
