"""The recipes of emoji fit together: each needs what earlier steps, or mini, left."""

from pathlib import Path
from typing import Any

from make_emoji_data import DATA, NAMING, SPLITS

from janusflow.config.recipes import StageRecipe
from janusflow.mini.training.recipes import VaeRecipe
from janusflow.training.recipes import read_recipes

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "emoji" / "recipes"
MINI = "mini"


def sources_of(recipe: Any) -> list[Any]:
    if isinstance(recipe, VaeRecipe):
        return [*recipe.images, *recipe.held_out]
    data = recipe.data
    return [*data.understanding, *data.generation, *data.text]


def test_every_step_needs_only_what_earlier_steps_or_mini_left():
    written = {str(DATA / name) for name in (NAMING, *(f"{split}.jsonl" for split in SPLITS))}
    made = {MINI}
    for recipe in read_recipes(RECIPES):
        for name in ("processor", "vae", "start"):
            assert getattr(recipe, name, MINI) in made, (recipe.run, name)
        assert {source.path for source in sources_of(recipe)} <= written
        assert str(recipe.run) not in made
        made.add(str(recipe.run))


def test_nothing_is_learnt_from_what_is_held_out():
    for recipe in read_recipes(RECIPES):
        learnt = recipe.images if isinstance(recipe, VaeRecipe) else sources_of(recipe)
        assert learnt
        assert all(Path(source.path).name in ("train.jsonl", NAMING) for source in learnt)


def test_stage_3_trains_all_that_stage_1_does_and_both_backbones():
    stages = {r.run.name: r for r in read_recipes(RECIPES) if isinstance(r, StageRecipe)}
    added = set(stages["stage3"].trainable) - set(stages["stage1"].trainable)
    assert set(stages["stage1"].trainable) < set(stages["stage3"].trainable)
    assert added == {"llm", "understanding_encoder"}


def test_no_stage_leaves_a_model_that_plans_its_emoji_in_words_for_shapes():
    stages = [recipe for recipe in read_recipes(RECIPES) if isinstance(recipe, StageRecipe)]
    assert len(stages) > 1
    assert all((recipe.new or {}).get("plans") is False for recipe in stages)
