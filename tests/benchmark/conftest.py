"""A folder of synthetic weights at a size for tests, written once."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_sides import TINY

from janusflow.benchmark.cases import Request
from janusflow.benchmark.weights import QUESTION, Facts, ensure_folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    ensure_folder(folder, TINY)
    return folder


@pytest.fixture(scope="session")
def facts(folder: Path) -> Facts:
    return ensure_folder(folder, TINY)


@pytest.fixture(scope="session")
def request_of_tiny(folder: Path, facts: Facts) -> Request:
    return Request(
        case="load",
        folder=str(folder),
        prompt=facts.prompt,
        question=QUESTION,
        steps=2,
        new_tokens=4,
    )
