"""The recipe that `janusflow tune` writes is a stage's, and says what was asked for."""

from pathlib import Path
from typing import Any

from janusflow.config.recipes import StageRecipe
from janusflow.config.records import load_record
from janusflow.tuning.recipe import DataFiles, TuneSettings, recipe_tree, settings_for, write_recipe

MINI, RELEASE = 5_600_000, 2_000_000_000


def written(run: Path, data: DataFiles, *, parameters: int = MINI, prior_weight: float = 1.0):
    said = {"model": "mini", "run": run, "prior_weight": prior_weight}
    file = write_recipe(TuneSettings(**settings_for(parameters) | said), data, ["a cat"])
    assert file.parent == run
    return load_record(StageRecipe, file)


def test_it_reads_back_as_a_stage_with_an_adapter_of_the_model(tmp_path: Path):
    recipe = written(tmp_path / "run", DataFiles(own=tmp_path / "own.jsonl"))
    assert (recipe.start, recipe.processor, recipe.vae) == ("mini", "mini", "mini")
    assert recipe.run == tmp_path / "run"
    assert recipe.tune is not None
    assert (recipe.tune.method, recipe.tune.rank, recipe.trainable) == ("lora", 16, ())
    assert recipe.log.prompts == ("a cat",)
    assert "&id" not in (tmp_path / "run" / "tune.yaml").read_text()  # people edit it
    assert [each.path for each in recipe.data.generation] == [str(tmp_path / "own.jsonl")]
    assert recipe.data.understanding == recipe.data.generation  # drawn and named
    assert recipe.data.text == ()
    assert (recipe.new, recipe.mixture.ratios[0].text) == (None, 0)


def test_what_preserves_the_model_has_the_share_that_was_asked_for(tmp_path: Path):
    data = DataFiles(*(tmp_path / f"{name}.jsonl" for name in DataFiles._fields))
    recipe = written(tmp_path, data, prior_weight=0.5)
    shares = {each.path: each.weight for each in recipe.data.generation}
    assert shares == {str(data.own): 1.0, str(data.prior): 0.5}
    shares = {each.path: each.weight for each in recipe.data.understanding}
    assert shares == {str(data.own): 1.0, str(data.questions): 1.0, str(data.prior_answers): 0.5}
    shares = {each.path: each.weight for each in recipe.data.text}
    assert shares == {str(data.own_plans): 0.5, str(data.prior_plans): 0.5}
    assert recipe.new == {"plans": True}
    assert recipe.mixture.ratios[0].text > 0


def test_questions_alone_are_learnt_without_anything_to_draw(tmp_path: Path):
    recipe = written(tmp_path, DataFiles(questions=tmp_path / "questions.json"))
    assert [each.format for each in recipe.data.understanding] == ["chat"]
    assert recipe.data.generation == ()
    (ratio,) = recipe.mixture.ratios
    assert (ratio.generation, ratio.text, recipe.new) == (0, 0, None)
    kept = DataFiles(questions=tmp_path / "questions.json", prior_plans=tmp_path / "plans.jsonl")
    assert written(tmp_path, kept).new == {"plans": True}  # or it would no longer plan


def test_more_steps_change_nothing_that_a_run_in_progress_must_keep(tmp_path: Path):
    def tree(steps: int) -> dict[str, Any]:
        settings = TuneSettings(
            **settings_for(MINI) | {"model": "mini", "run": tmp_path} | {"steps": steps}
        )
        return recipe_tree(settings, DataFiles(own=tmp_path / "own.jsonl"), ["a cat"])

    shorter, longer = tree(100), tree(200)
    assert shorter["loop"].pop("steps") == 100
    assert longer["loop"].pop("steps") == 200
    assert shorter == longer


def test_large_models_learn_at_the_rate_of_the_field_and_small_ones_faster(tmp_path: Path):
    data = DataFiles(own=tmp_path / "own.jsonl")
    small, large = (written(tmp_path, data, parameters=each) for each in (MINI, RELEASE))
    rates = [each.loop.optimizer.learning_rate for each in (small, large)]
    assert rates == [3e-3, 1e-4]
    assert small.tune is not None
    assert large.tune is not None
    assert {*small.tune.on} - {*large.tune.on} == {"llm.head"}
    assert (large.loop.steps, large.mixture.batch_size) == (500, 4)
