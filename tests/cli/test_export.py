"""Claims about `janusflow export onnx`: mistakes are one line; the files are tested elsewhere."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from janusflow.cli.main import COMMANDS, build_app

APP = build_app({name: COMMANDS[name] for name in ("export onnx",)})


def refused(*arguments: str | Path) -> str:
    result = CliRunner().invoke(APP, ["export", "onnx", *map(str, arguments)])
    assert result.exit_code == 1, result.output
    (line,) = result.output.strip().splitlines()
    return line


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path):
    assert "no such folder" in refused(tmp_path / "nowhere", tmp_path / "onnx")


def test_a_missing_extra_is_one_line_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    line = refused(tmp_path / "nowhere", tmp_path / "onnx")
    assert 'pip install "janusflow[onnx]"' in line


def test_help_shows_an_example():
    result = CliRunner().invoke(APP, ["export", "onnx", "--help"])
    assert result.exit_code == 0
    assert "janusflow export onnx mini mini-onnx" in result.output
