"""A tiny run's parts, built once: tests must leave them as they found them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_run import TinySources, make_sources


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> TinySources:
    """Twelve rendered scenes with latents."""
    return make_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(autouse=True)
def _cache_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What `datasets` makes of a file stays with the test."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
