"""`janusflow data show`: writes a page from a recipe, or from a file that has none."""

from pathlib import Path

import pytest
import yaml
from data_files import write_image, write_json
from tiny_stage import stage_tree, write_parts
from typer.testing import CliRunner, Result

from janusflow.cli.main import build_app


def show(*arguments: str | Path) -> Result:
    app = build_app({"data show": "janusflow.cli.data_show"})
    return CliRunner().invoke(app, ["data", "show", *map(str, arguments)])


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    root = write_parts(tmp_path / "parts")
    path = tmp_path / "stage.yaml"
    path.write_text(yaml.safe_dump(stage_tree(root)), encoding="utf-8")
    return path


def test_a_recipes_samples_are_shown_and_the_seed_decides_which(tmp_path: Path, recipe: Path):
    page = tmp_path / "new" / "page.html"
    pages = []
    for seed in ("1", "2", "1"):
        result = show(recipe, "-o", page, "-n", "4", "--seed", seed)
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{page}\n"
        pages.append(page.read_text(encoding="utf-8"))
    assert pages[0].count("<figure id=") == 4
    assert pages[0] == pages[2] != pages[1]


def test_a_file_is_shown_as_mini_gets_it_and_bad_rows_are_told(tmp_path: Path):
    write_image(tmp_path / "1.png")
    rows = [{"image": name, "caption": "red"} for name in ("1.png", "no.png")]
    path, page = write_json(tmp_path / "pairs.json", rows), tmp_path / "page.html"
    result = show(path, "-o", page, "-n", "4")
    assert result.exit_code == 0, result.output
    assert f"bad row 1 of {path}" in result.stderr
    html = page.read_text(encoding="utf-8")
    assert "sizes of <b>mini</b>" in html
    assert "<b>1</b> bad rows" in html
    assert html.count("<figure id=") == 4
