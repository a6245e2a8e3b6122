"""Claims about `janusflow convert`: it writes, reports, and refuses in one line."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1]))

from release_folder import write_release_folder

from janusflow.cli.main import build_app

RUNNER = CliRunner()
# A second command, because typer gives a lone one no name.
APP = build_app({"convert": "janusflow.cli.convert", "again": "janusflow.cli.convert"})


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "release"
    write_release_folder(folder)
    return folder


def test_convert_writes_our_layout_and_reports_it(release: Path, tmp_path: Path):
    ours = tmp_path / "ours"
    result = RUNNER.invoke(APP, ["convert", str(release), str(ours), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["layout"] == "janusflow"
    assert report["num_parameters"] > 1e7
    assert json.loads((ours / "config.json").read_text())["model_type"] == "janusflow"


def test_live_weights_of_what_is_no_checkpoint_are_refused(release: Path, tmp_path: Path):
    result = RUNNER.invoke(APP, ["convert", str(release), str(tmp_path / "x"), "--live"])
    assert result.exit_code == 1
    assert "only a run and its checkpoints hold live weights" in result.output


def test_a_missing_source_is_one_line_and_exit_code_1(tmp_path: Path):
    result = RUNNER.invoke(APP, ["convert", str(tmp_path / "nowhere"), str(tmp_path / "new")])
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1
    assert "no such folder" in result.output


def test_an_unknown_layout_is_wrong_usage(release: Path, tmp_path: Path):
    result = RUNNER.invoke(APP, ["convert", str(release), str(tmp_path / "x"), "--to", "gguf"])
    assert result.exit_code == 2


def test_help_shows_an_example():
    result = RUNNER.invoke(APP, ["convert", "--help"])
    assert result.exit_code == 0
    assert "--to official" in result.output


def test_mini_is_a_model_name_here_too(tmp_path: Path):
    """Its copy in our own layout has the very same weights."""
    from janusflow.interop.hub import find_folder

    result = RUNNER.invoke(APP, ["convert", "mini", str(tmp_path / "copy")])
    assert result.exit_code == 0, result.output
    copy, mini = (f / "model.safetensors" for f in (tmp_path / "copy", find_folder("mini")))
    assert copy.read_bytes() == mini.read_bytes()
