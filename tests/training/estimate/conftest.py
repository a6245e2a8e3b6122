"""Configurations of a tiny stage, written once."""

from pathlib import Path

import pytest
from tiny_stage import write_parts


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))
