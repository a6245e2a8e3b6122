"""`janusflow data cache`: says what it added, and which rows it could not use."""

import json
from pathlib import Path

import pytest
from data_files import write_image, write_json
from tiny_run import run_model, run_vae
from tiny_stage import stage_tree, write_parts
from typer.testing import CliRunner, Result

from janusflow.cli.main import build_app


def fill(*arguments: str | Path) -> Result:
    app = build_app({"data cache": "janusflow.cli.data_cache"})
    return CliRunner().invoke(app, ["data", "cache", *map(str, arguments)])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    parts = write_parts(tmp_path / "parts")
    run_model().save_pretrained(parts / "start")
    run_vae().save_pretrained(parts / "vae")
    write_image(tmp_path / "1.png")
    rows = [{"image": name, "caption": "red"} for name in ("1.png", "2.png")]
    pairs = [{"format": "captions", "path": write_json(tmp_path / "pairs.json", rows)}]
    data = {"generation": pairs, "understanding": pairs, "crops": 1}
    path = tmp_path / "stage.yaml"
    tree = json.dumps(stage_tree(parts, data=data))  # which is YAML too
    path.write_text(tree, encoding="utf-8")
    return path


def test_what_was_added_and_what_was_not_are_told(recipe: Path, tmp_path: Path):
    result = fill(recipe, f"data.cache={tmp_path / 'cache'}")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("1 images added") == 3
    assert f"{tmp_path / 'cache'}/latents-" in result.stdout
    assert result.stderr.count("row 1 of") == 2
    assert "2 rows make no sample" in result.stderr
    again = fill(recipe, f"data.cache={tmp_path / 'cache'}")
    assert again.stdout.count("0 images added") == 3


def test_a_recipe_that_names_no_cache_is_one_line(recipe: Path):
    result = fill(recipe)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "name the folder" in result.stderr
