"""What may change on a run that has begun, and what is refused."""

from pathlib import Path

import pytest
import yaml
from tiny_recipes import tiny_recipes, write_recipes

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import CHANGEABLE, StageRecipe
from janusflow.config.records import has_setting, to_tree
from janusflow.training.recipes import (
    _refuse_other_settings,
    _with_begun_warmup,
    read_recipe,
    run_recipes,
)

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """The recipe of a stage that has begun."""
    run = tmp_path / "run"
    path = RECIPES / "janusflow-1.3b/stage2.yaml"
    recipe = tmp_path / "stage.yaml"
    recipe.write_text(f"extends: {path}\nrun: {run}\ndata: {{crops: 1}}\n", encoding="utf-8")
    run.mkdir()
    (run / "recipe.yaml").write_text(yaml.safe_dump(to_tree(read_recipe(recipe))))
    (run / "log.jsonl").touch()
    return recipe


@pytest.mark.parametrize(
    "changes",
    [
        "loop.steps=400000",
        "loop.save_every=1000 loop.keep=10 loop.keep_every=10000 loop.log_every=50",
        "loop.micro_batch_size=4 loop.parallelism.hsdp_shard_size=0",
        "loop.parallelism.activation_checkpointing=true loop.parallelism.compile=true",
        "mixture.max_bad_share=0.05",
        "data.cache=cache",
        "loop.guard.spike=skip log.samples_every=1000",
    ],
)
def test_what_changes_nothing_that_is_learnt_may_change_on_a_begun_run(begun: Path, changes: str):
    _refuse_other_settings(read_recipe(begun, tuple(changes.split())))


def test_a_warm_up_that_nobody_set_stays_that_of_the_length_a_run_began_with(begun: Path):
    unset = "loop.optimizer.warmup_steps=null"
    first = _with_begun_warmup(read_recipe(begun, (unset, "loop.steps=100", f"run={begun}-other")))
    assert first.loop.optimizer.warmup_steps == 20
    echo = begun.parent / "run/recipe.yaml"
    settings = to_tree(first) | {"run": str(begun.parent / "run")}
    echo.write_text(yaml.safe_dump(settings))
    longer = _with_begun_warmup(read_recipe(begun, (unset, "loop.steps=1000")))
    assert longer.loop.optimizer.warmup_steps == 20
    assert _refuse_other_settings(longer) is True
    with pytest.raises(ConfigError, match=r"warmup_steps=30 \(was 20\)"):
        _refuse_other_settings(read_recipe(begun, ("loop.optimizer.warmup_steps=30",)))


def test_a_run_that_was_begun_under_old_names_goes_on(begun: Path):
    echo = begun.parent / "run/recipe.yaml"
    tree = yaml.safe_load(echo.read_text())
    loop = tree["loop"]
    parallelism = loop.pop("parallelism")
    loop["accumulate"] = loop.pop("micro_batch_size")
    loop["scale"] = {
        "precision": parallelism["precision"],
        "shard": parallelism["hsdp_shard_size"],
        "recompute": parallelism["activation_checkpointing"],
    }
    tree["log"]["questions"] = [{"picture": "a.png", "question": "What?"}]
    echo.write_text(yaml.safe_dump(tree))
    _refuse_other_settings(read_recipe(begun))
    with pytest.raises(ConfigError, match=r"loop.parallelism.precision=fp32 \(was bf16\)"):
        _refuse_other_settings(read_recipe(begun, ("loop.parallelism.precision=fp32",)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("loop.accumulate=4", "micro_batch_size"),
        ("loop.scale.precision=bf16", "parallelism"),
        ("loop.parallelism.shard=8", "hsdp_shard_size"),
        ("loop.parallelism.recompute=true", "activation_checkpointing"),
        ("log.questions=[{picture: a.png, question: 'What?'}]", "image"),
    ],
)
def test_an_old_name_in_a_recipe_is_refused_with_the_new_one(begun: Path, old: str, new: str):
    with pytest.raises(ConfigError, match=rf"did you mean {new}\?"):
        read_recipe(begun, (old,))


def test_what_may_change_are_settings_and_stand_in_the_documentation():
    text = (RECIPES.parent / "docs/training.md").read_text(encoding="utf-8")
    for name in CHANGEABLE:
        assert has_setting(StageRecipe, name), name
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ("loop.optimizer.learning_rate=5e-5", r"loop.optimizer.learning_rate=5e-05 \(was 0.0001\)"),
        ("loop.parallelism.precision=fp32", r"loop.parallelism.precision=fp32 \(was bf16\)"),
        ("mixture.batch_size=256", r"mixture.batch_size=256 \(was 512\)"),
        ("loop.ema=0.9", r"loop.ema=0.9 \(was 0.99\)"),
        ("trainable=[llm]", r"trainable=\['llm'\]"),
    ],
)
def test_what_changes_what_is_learnt_is_refused_by_name(begun: Path, changes: str, told: str):
    with pytest.raises(ConfigError, match=told):
        _refuse_other_settings(read_recipe(begun, (changes,)))


def test_a_rate_that_falls_at_the_end_fixes_the_end(begun: Path):
    echo = begun.parent / "run/recipe.yaml"
    tree = yaml.safe_load(echo.read_text())
    tree["loop"]["optimizer"]["decay_steps"] = 100
    echo.write_text(yaml.safe_dump(tree))
    changes = ("loop.optimizer.decay_steps=100", "loop.steps=400000")
    with pytest.raises(ConfigError, match=r"loop.steps=400000 \(was 390000\)"):
        _refuse_other_settings(read_recipe(begun, changes))


def test_an_option_that_came_after_a_run_was_begun_is_at_its_default_there(
    tmp_path: Path,
):
    tree = tiny_recipes(tmp_path)["1-scenes"] | {"run": str(tmp_path / "run")}
    path = write_recipes(tmp_path / "recipes", {"one": tree}) / "one.yaml"
    run_recipes(path)
    echo = tmp_path / "run" / "recipe.yaml"
    settings = yaml.safe_load(echo.read_text())
    assert settings.pop("seed") == 0
    echo.write_text(yaml.safe_dump(settings))
    run_recipes(path)
    with pytest.raises(ConfigError, match=r"seed=1 \(was 0\)"):
        run_recipes(path, ("seed=1",))


def test_the_echo_of_a_recipe_that_extends_another_is_what_both_say(tmp_path: Path):
    """So the run goes on though the other file changes its name."""
    scenes = tiny_recipes(tmp_path)["1-scenes"] | {"run": str(tmp_path / "1"), "size": 32}
    more = {"extends": "1.yaml", "run": str(tmp_path / "2"), "num_scenes": 3}
    folder = write_recipes(tmp_path / "recipes", {"2": more, "1": scenes})
    assert [run.name for run in run_recipes(folder)] == ["1", "2"]
    echo = yaml.safe_load((tmp_path / "2" / "recipe.yaml").read_text())
    assert echo == scenes | {"run": str(tmp_path / "2"), "num_scenes": 3, "seed": 0}
    assert run_recipes(tmp_path / "2" / "recipe.yaml") == [tmp_path / "2"]


def test_a_run_folder_of_another_task_is_refused(tmp_path: Path):
    trees = {name: tiny_recipes(tmp_path)[name] for name in ("1-scenes", "2-tokenizer")}
    folder = {"run": str(tmp_path / "run")}
    recipes = write_recipes(tmp_path / "recipes", {n: t | folder for n, t in trees.items()})
    with pytest.raises(ConfigError, match="run of 2 recipes in"):
        run_recipes(recipes)
    run_recipes(recipes / "1-scenes.yaml")
    with pytest.raises(ConfigError, match=r"other settings .* task=tokenizer \(was scenes\)"):
        run_recipes(recipes / "2-tokenizer.yaml")
