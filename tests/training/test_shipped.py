"""Recipes that ship are found by name, listed and copied, wherever the package lies."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.config.records import read_tree
from janusflow.training import shipped
from janusflow.training.recipes import read_recipe, read_recipes
from janusflow.training.shipped import (
    copy_recipe,
    find_recipe,
    is_recipe,
    recipes_folder,
    shipped_recipes,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no recipes lie."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize("name", ["mini/8-stage3", "recipes/mini/8-stage3.yaml"])
def test_a_recipe_is_read_by_its_name_or_its_path_in_the_repository(name: str):
    recipe = read_recipe(Path(name), ("loop.steps=7",))
    assert isinstance(recipe, StageRecipe)
    assert (recipe.run, recipe.loop.steps) == (Path("runs/mini/stage3"), 7)


@pytest.mark.usefixtures("_elsewhere")
def test_a_folder_is_read_by_its_name_in_order():
    runs = [str(recipe.run) for recipe in read_recipes(Path("mini"))]
    assert runs[0] == "runs/mini/easy-vqa"
    assert runs[-1] == "runs/mini/ship"


@pytest.mark.usefixtures("_elsewhere")
def test_what_lies_here_comes_before_what_ships(tmp_path: Path):
    (tmp_path / "mini").mkdir()
    assert find_recipe("mini") == recipes_folder() / "mini"  # no recipe in it: it is another thing
    own = tmp_path / "mini" / "8-stage3.yaml"
    own.write_text("task: stage\n")
    assert find_recipe("mini/8-stage3").resolve() == own
    assert find_recipe("mini").resolve() == own.parent


@pytest.mark.usefixtures("_elsewhere")
def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"no recipe at mini/8-stage33.*\(mini/8-stage3, "):
        read_recipes(Path("mini/8-stage33"))
    with pytest.raises(ConfigError, match=r"no recipe at nowhere\.yaml"):
        read_recipe(Path("nowhere.yaml"))


def test_a_recipe_is_told_from_data():
    assert is_recipe("mine.yaml")
    assert is_recipe("mini/8-stage3")
    assert not is_recipe("owner/data")
    assert not is_recipe("pairs.jsonl")


def test_every_recipe_is_listed_with_its_steps_and_one_line():
    listed = {each.name: each for each in shipped_recipes()}
    files = [*recipes_folder().rglob("*.yaml")]
    assert len(listed) == len(files) >= 20
    abouts = [each.about for each in listed.values()]
    assert all(20 <= len(about) < 130 and "\n" not in about for about in abouts), abouts
    assert listed["mini/8-stage3"].steps == 1800
    assert listed["mini/8b-finish"].steps == 1600
    assert listed["mini/1-scenes"].steps is None
    assert listed["mini/1-scenes"].about.startswith("The pictures mini learns from")


def test_a_copy_has_what_the_recipe_extends_and_says_the_same(tmp_path: Path):
    copies = copy_recipe("mini/7d-where", tmp_path / "mine")
    names = ["7d-where.yaml", "7c-where.yaml", "6b-questions.yaml"]
    assert copies == [tmp_path / "mine" / name for name in names]
    assert read_tree(copies[0]) == read_tree(recipes_folder() / "mini" / "7d-where.yaml")
    with pytest.raises(ConfigError, match=r"7c-where\.yaml is there already"):
        copy_recipe("mini/7c-where", tmp_path / "mine")
    assert not (tmp_path / "mine" / "8-stage3.yaml").exists()


@pytest.mark.usefixtures("_elsewhere")
def test_a_folder_is_copied_to_one_of_its_name(tmp_path: Path):
    copies = copy_recipe("mini")
    assert {copy.name for copy in copies} == {p.name for p in (tmp_path / "mini").iterdir()}
    assert len(copies) == len([*(recipes_folder() / "mini").glob("*.yaml")])
    assert find_recipe("mini").resolve() == tmp_path / "mini"


@pytest.mark.usefixtures("_elsewhere")
def test_an_unknown_recipe_is_not_copied(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no recipe at mini/9-shop.*mini/9-ship"):
        copy_recipe("mini/9-shop")
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_a_wheel_holds_them_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("hatchling", reason="it builds wheels")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "site")
    package = tmp_path / "site" / "janusflow"
    monkeypatch.setattr(shipped, "__file__", str(package / "training" / "shipped.py"))
    assert recipes_folder() == package / "recipes"
    assert len(shipped_recipes()) == len([*(ROOT / "recipes").rglob("*.yaml")])
