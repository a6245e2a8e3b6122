"""Settings changed on the command line, for one recipe and for all of a folder."""

from pathlib import Path

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.training.recipes import read_recipes

RECIPES = Path(__file__).parents[2] / "recipes"


def test_overrides_of_a_folder_reach_the_recipes_that_have_the_setting():
    asked = ("stage:loop.parallelism.precision=bf16", "loop.steps=3", "num_scenes=7")
    changed = {recipe.run.name: recipe for recipe in read_recipes(RECIPES / "mini", asked)}
    stages = [recipe for recipe in changed.values() if isinstance(recipe, StageRecipe)]
    assert len(stages) == 9
    assert {recipe.loop.parallelism.precision for recipe in stages} == {"bf16"}
    assert (
        changed["vae"].loop.parallelism.precision
        == changed["siglip"].loop.parallelism.precision
        == "fp32"
    )
    assert {changed[name].loop.steps for name in ("vae", "siglip", "stage3")} == {3}
    assert changed["scenes"].num_scenes == 7


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("loop.stepz=3", "no recipe in .* has this setting"),
        ("scenes:loop.steps=3", "no recipe in .* has this setting"),
        ("stages:loop.steps=3", "no recipe in .* has this setting"),
        ("loop.steps=many", "loop: steps is 'many'"),
        ("run=runs/all", "run=runs/all of 16 recipes"),
    ],
)
def test_overrides_of_a_folder_that_fit_none_are_refused(override: str, told: str):
    with pytest.raises(ConfigError, match=told):
        read_recipes(RECIPES / "mini", (override,))


def test_a_task_may_stand_before_a_setting_of_a_single_file_too():
    (stage,) = read_recipes(RECIPES / "mini/8-stage3.yaml", ("stage:loop.steps=3",))
    assert stage.loop.steps == 3
    with pytest.raises(ConfigError, match="vae:loop"):
        read_recipes(RECIPES / "mini/8-stage3.yaml", ("vae:loop.steps=3",))
