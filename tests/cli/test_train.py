"""`janusflow train`: runs a recipe; a mistake in it is one line and exit code 1."""

from pathlib import Path

import pytest
from forked import torchrun
from typer.testing import CliRunner, Result

from janusflow.cli.main import build_app
from janusflow.inference.previews import draw_and_answer
from janusflow.inference.rollouts import OwnRollouts
from janusflow.mini.scenes.dataset import SceneFolder
from janusflow.training import recipes

SCENES = "task: scenes\nrun: {run}\nnum_scenes: 2\nsize: 32\n"


def train(*arguments: str) -> Result:
    # Two commands: typer drops the name of a lone one.
    app = build_app({"train": "janusflow.cli.train", "eval": "janusflow.cli.eval"})
    return CliRunner().invoke(app, ["train", *arguments])


def recipe(tmp_path: Path, text: str = SCENES) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text.format(run=tmp_path / "run"), encoding="utf-8")
    return str(path)


def test_a_recipe_is_run_and_its_folder_printed(tmp_path: Path):
    result = train(recipe(tmp_path), "num_scenes=3")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'run'}\n"
    assert len(SceneFolder(tmp_path / "run")) == 3


def test_a_folder_is_run_in_order_and_finished_runs_are_skipped(tmp_path: Path):
    for name in ("2", "1"):
        text = SCENES.format(run=tmp_path / f"run{name}")
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    for _ in range(2):
        result = train(str(tmp_path))
        assert result.exit_code == 0
        assert result.stdout.splitlines() == [str(tmp_path / "run1"), str(tmp_path / "run2")]


@pytest.mark.slow
def test_of_several_processes_the_first_alone_tells_of_runs(tmp_path: Path):
    """A run that is finished, so that none of them computes anything."""
    path = recipe(tmp_path)
    train(path)
    first, second = torchrun(2, "train", path)
    assert (first.code, first.stdout) == (0, f"{tmp_path / 'run'}\n")
    assert first.stderr.count("finished before, skipped") == 1
    assert second == (0, "", "")


@pytest.mark.parametrize(
    ("text", "overrides", "told"),
    [
        (SCENES, ["siz=3"], "did you mean size?"),
        (SCENES, ["size"], "wanted key=value"),
        (SCENES, ["size=big"], "wanted a whole number"),
        (SCENES + "colour: red\n", [], "unknown key 'colour'"),
        ("task: paint\n", [], "task is 'paint', wanted one of"),
        ("task: scenes\nrun: here\n", [], "lacks num_scenes"),
        ("a: [\n", [], "not valid YAML"),
        ("task: vae\nrun: {run}\nscenes: no/where\nmodel: {{}}\n", [], "no rendered scenes"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    tmp_path: Path, text: str, overrides: list[str], told: str
):
    result = train(recipe(tmp_path, text), *overrides)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert told in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


def test_samples_are_drawn_by_inference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Training itself does not know how."""
    given = []

    def run_recipes(*_: object, **handed: object) -> list[Path]:
        given.append(handed)
        return []

    monkeypatch.setattr(recipes, "run_recipes", run_recipes)
    assert train(recipe(tmp_path)).exit_code == 0
    assert [each.keys() for each in given] == [{"sampler", "rollouts"}]
    assert given[0]["sampler"] is draw_and_answer
    assert isinstance(given[0]["rollouts"], OwnRollouts)


def test_a_missing_file_is_named(tmp_path: Path):
    result = train(str(tmp_path / "nosuch.yaml"))
    assert result.exit_code == 1
    assert "nosuch.yaml" in result.stderr
    assert result.stderr.count("\n") == 1


def test_help_shows_an_example():
    result = train("--help")
    assert result.exit_code == 0
    assert "janusflow train mini" in result.stdout
