"""Run recipe files: one YAML, or a folder of them in order. Finished steps are skipped."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from tqdm import tqdm

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import (
    EasyVqaRecipe,
    ScenesRecipe,
    ShipRecipe,
    SiglipRecipe,
    StageRecipe,
    TokenizerRecipe,
    VaeRecipe,
)
from janusflow.config.records import load_record, read_tree, to_tree
from janusflow.mini.dataset import write_scenes
from janusflow.mini.easy_vqa import fetch_easy_vqa
from janusflow.mini.tokenizer import mini_processor, train_tokenizer
from janusflow.training.pretrain import train_siglip, train_vae
from janusflow.training.processes import is_first, process_group, wait_for_all
from janusflow.training.stage import ship, train_stage

ECHO = "recipe.yaml"
DONE = "done"


def run_recipes(path: Path, overrides: tuple[str, ...] = ()) -> list[Path]:
    """Run a recipe, or every recipe of a folder by name, and return the run folders.

    A run folder keeps the settings it was made with and refuses others; a finished one is not run
    again, an interrupted one is resumed.

    Raises:
        ConfigError: a recipe does not fit, or a run folder was begun with other settings.
    """
    recipes = read_recipes(path, overrides)
    with process_group():
        return [_run(recipe) for recipe in recipes]


def read_recipes(path: Path, overrides: tuple[str, ...] = ()) -> list[Any]:
    """Read a recipe file, or all of a folder by name, into the records of their tasks.

    Raises:
        ConfigError: there are none, or one does not fit.
    """
    files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(f"no recipes in {path}: wanted .yaml files, e.g. recipes/mini.")
    if path.is_dir() and overrides:
        raise ConfigError(
            f"overrides {' '.join(overrides)} for the folder {path}: give them to one recipe file."
        )
    return [read_recipe(file, overrides) for file in files]


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Any:
    """Read one recipe file into the record of its task."""
    task = read_tree(path).get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise ConfigError(f"{path}: task is {task!r}, wanted one of {', '.join(TASKS)}.")
    return load_record(TASKS[task][0], path, overrides)


def _run(recipe: Any) -> Path:
    """Run one recipe in every process, or in the first alone if it is no training."""
    run: Path = recipe.run
    settings = yaml.safe_dump(to_tree(recipe), sort_keys=False, allow_unicode=True)
    _refuse_other_settings(run, settings)
    if (run / DONE).exists():
        tqdm.write(f"{run}: finished before, skipped", file=sys.stderr)
        return run
    wait_for_all()
    if is_first():
        run.mkdir(parents=True, exist_ok=True)
        (run / ECHO).write_text(settings, encoding="utf-8")
    wait_for_all()
    _, runner, is_shared = TASKS[recipe.task]
    if is_shared or is_first():
        runner(recipe)
    wait_for_all()
    if is_first():
        (run / DONE).touch()
    return run


def _refuse_other_settings(run: Path, settings: str) -> None:
    """A run folder, finished or not, is for the settings it was begun with."""
    echo = run / ECHO
    if echo.exists() and echo.read_text(encoding="utf-8") != settings:
        raise ConfigError(
            f"{run} was begun with other settings ({echo}): choose another run=FOLDER or delete it."
        )


def _scenes(recipe: ScenesRecipe) -> None:
    write_scenes(
        recipe.run,
        num_scenes=recipe.num_scenes,
        size=recipe.size,
        seed=recipe.seed,
        progress=tqdm,
    )


def _easy_vqa(recipe: EasyVqaRecipe) -> None:
    fetch_easy_vqa(recipe.run)


def _tokenizer(recipe: TokenizerRecipe) -> None:
    tokenizer = train_tokenizer(
        vocab_size=recipe.vocab_size, num_texts=recipe.num_texts, seed=recipe.seed
    )
    mini_processor(
        tokenizer, image_size=recipe.image_size, num_image_tokens=recipe.num_image_tokens
    ).save_pretrained(recipe.run)


TASKS: dict[str, tuple[type, Callable[[Any], None], bool]] = {
    "scenes": (ScenesRecipe, _scenes, False),
    "easy_vqa": (EasyVqaRecipe, _easy_vqa, False),
    "tokenizer": (TokenizerRecipe, _tokenizer, False),
    "vae": (VaeRecipe, train_vae, True),
    "siglip": (SiglipRecipe, train_siglip, True),
    "stage": (StageRecipe, train_stage, True),
    "ship": (ShipRecipe, ship, False),
}
"""Task name -> the record its file fills, what runs it, and whether every process takes part."""
