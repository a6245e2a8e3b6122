"""The command line on a tiny random model."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from janusflow.cli.main import build_app

sys.path.insert(0, str(Path(__file__).parents[1]))

from tiny_model import save_tiny

Run = Callable[..., Result]

NAMES = ("generate", "interpolate", "upscale", "ask", "chat", "inspect", "demo")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder on disk, in our layout."""
    return save_tiny(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as a person would, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    app = build_app({name: f"janusflow.cli.{name}" for name in NAMES})

    def run_command(*arguments: str | Path, says: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=says)

    return run_command
