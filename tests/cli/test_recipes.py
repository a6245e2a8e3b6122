"""`janusflow recipes`: lists what ships; `janusflow recipes copy` copies one to edit."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from janusflow.cli.main import COMMANDS, build_app

NAMES = ("recipes", "recipes copy")


def run(*arguments: str) -> Result:
    app = build_app({name: COMMANDS[name] for name in NAMES})
    return CliRunner().invoke(app, [*arguments])


def test_recipes_are_listed_one_a_line():
    lines = run("recipes").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("mini/8-stage3 ")]
    assert line.split()[1:3] == ["1,800", "steps"]
    assert "Paper stage 3, fine-tuning" in line
    listed = json.loads(run("recipes", "--json").stdout)
    assert len(listed) == len(lines)


def test_a_copy_is_made_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = run("recipes", "copy", "mini/8b-finish")
    assert result.stdout.splitlines() == ["mini/8b-finish.yaml", "mini/8-stage3.yaml"]
    assert (tmp_path / "mini" / "8-stage3.yaml").is_file()
    again = run("recipes", "copy", "mini/8b-finish")
    assert (again.exit_code, again.stdout) == (1, "")
    assert again.stderr.startswith("error: mini/8b-finish.yaml is there already")


def test_an_unknown_name_is_one_line():
    result = run("recipes", "copy", "mini/8-stag3")
    assert result.exit_code == 1
    assert "mini/8-stage3" in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_shows_both_with_examples():
    told = run("recipes", "--help").stdout
    assert "janusflow recipes copy finetune" in told
    assert "copy " in told
    assert "janusflow recipes copy mini/8-stage3 my-recipes" in run("recipes", "copy", "-h").stdout
