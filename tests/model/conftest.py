"""A tiny random model, built once: tests must leave it as they found it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_model import tiny_model

from janusflow.model.modeling import JanusFlowForConditionalGeneration


@pytest.fixture(scope="session")
def model() -> JanusFlowForConditionalGeneration:
    return tiny_model()
