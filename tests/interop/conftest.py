"""One small folder in the release's layout, written once: tests must leave it as it is."""

import sys
from pathlib import Path

import pytest
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from release_folder import write_release_folder


@pytest.fixture(scope="session")
def _release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("release") / "JanusFlow"
    return folder, write_release_folder(folder)


@pytest.fixture(scope="session")
def release(_release: tuple[Path, dict[str, Tensor]]) -> Path:
    return _release[0]


@pytest.fixture(scope="session")
def release_weights(_release: tuple[Path, dict[str, Tensor]]) -> dict[str, Tensor]:
    return _release[1]
