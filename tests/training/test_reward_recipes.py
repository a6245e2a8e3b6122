"""The recipes by which mini learns from its own drawings run as they are shipped, in small."""

import json
from pathlib import Path

import pytest

from janusflow.config.recipes import StageRecipe
from janusflow.inference.rollouts import OwnRollouts
from janusflow.training.recipes import read_recipes, run_recipes

FOLDER = Path(__file__).parents[2] / "recipes" / "mini-rewards"
SMALL = (
    *("preference.prompts_per_round=2", "preference.images_per_prompt=2", "loop.steps=1"),
    *("preference.batch_size=2", "preference.drawing_steps=1", "loop.optimizer.warmup_steps=0"),
)


def test_all_start_from_mini_with_runs_of_their_own_and_each_has_another_way():
    stages = [each for each in read_recipes(FOLDER) if isinstance(each, StageRecipe)]
    methods = [None if each.preference is None else each.preference.method for each in stages]
    assert methods == ["sft", "distill", "dpo", "nft", None]
    assert {each.start for each in stages} == {"mini"}
    assert all(each.new == {"plans": True} for each in stages)
    assert [bool(source.redraw) for source in stages[-1].data.generation] == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nft", "dpo", "best-of-n"])
def test_a_recipe_takes_a_step(name: str, tmp_path: Path):
    (run,) = run_recipes(
        FOLDER / f"{name}.yaml", (*SMALL, f"run={tmp_path / 'run'}"), rollouts=OwnRollouts()
    )
    (told,) = [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]
    assert told["reward.janusflow.mini.rewards:likelihood"] < 0
    assert 0 <= told["reward.janusflow.mini.rewards:right"] <= 1
    assert json.loads((run / "model" / "config.json").read_text())["plans"] is True


@pytest.mark.slow
def test_images_are_redrawn(tmp_path: Path):
    scenes = tmp_path / "scenes"
    run_recipes(FOLDER / "1-scenes.yaml", (f"run={scenes}", "num_scenes=4"))
    words = {"format": "scenes", "path": str(scenes), "redraw": "Describe the picture."}
    changes = (
        *(f"run={tmp_path / 'run'}", f"data.generation=[{json.dumps(words)}]"),
        *("loop.steps=1", "mixture.batch_size=2"),
    )
    (run,) = run_recipes(FOLDER / "reca.yaml", changes)
    (logged,) = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert logged["flow_mse"] > 0
