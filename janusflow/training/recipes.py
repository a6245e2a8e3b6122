"""Run recipe files: one YAML, or a folder of them in order. Finished steps are skipped."""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from tqdm import tqdm

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import CHANGEABLE, ShipRecipe, StageRecipe
from janusflow.config.records import (
    build_record,
    has_setting,
    load_record,
    read_tree,
    to_tree,
    with_present_names,
)
from janusflow.config.training import LoopConfig
from janusflow.data.sources.formats import load_plugins
from janusflow.training.engine.distributed import barrier, is_main_process, process_group
from janusflow.training.report.previews import Sampler
from janusflow.training.report.provenance import ENVIRONMENT, record_environment
from janusflow.training.shipped import find_recipe
from janusflow.training.stage.rounds import Rollouts
from janusflow.training.stage.stage import ship, train_stage

ECHO = "recipe.yaml"
DONE = "done"
NOTES = {ECHO, ENVIRONMENT}
"""What a run folder holds before anything is made."""
SHOWN = 3
"""Changed settings that a refusal shows."""


class Task(NamedTuple):
    """What a recipe file's `task` stands for."""

    recipe: type
    """Record that the file fills."""
    run: Callable[[Any], None]
    is_distributed: bool
    """Whether every process takes part, instead of the first alone."""


def run_recipes(
    path: Path,
    overrides: tuple[str, ...] = (),
    *,
    sampler: Sampler | None = None,
    rollouts: Rollouts | None = None,
) -> list[Path]:
    """Run a recipe, or every recipe of a folder by name, and return the run folders.

    A run folder keeps the settings it was made with and refuses others, but for those that change
    nothing that is learnt (`CHANGEABLE`); a finished one is not run again unless it is to have more
    steps, an interrupted one is resumed.

    Args:
        path: a recipe file, a folder of them, or a name (shipped.py).
        overrides: settings to change, as dotted.key=value; in a folder, of those recipes that have
            the setting, or as task:dotted.key=value only of those of a task.
        sampler: draws and answers for stages that show samples.
        rollouts: draws and judges for stages that learn from their own drawings.

    Raises:
        ConfigError: a recipe does not fit, or a run folder was begun with other settings.
    """
    recipes = read_recipes(path, overrides)
    with process_group():
        stage = partial(train_stage, sampler=sampler, rollouts=rollouts)
        return [_run(recipe, stage) for recipe in recipes]


def read_recipes(path: Path, overrides: tuple[str, ...] = ()) -> list[Any]:
    """Read a recipe file, or all of a folder by name, into the records of their tasks.

    Raises:
        ConfigError: there are none, one does not fit, two have one run folder, or an override
            fits none.
    """
    path = find_recipe(path)
    if not path.is_dir():
        return [read_recipe(path, overrides)]
    files = sorted(path.glob("*.yaml"))
    changes = _shared_out(overrides, {file: _task(file) for file in files}, path)
    recipes = [read_recipe(file, tuple(changes[file])) for file in files]
    run, times = Counter(recipe.run for recipe in recipes).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"run={run} of {times} recipes in {path}: give each its own.")
    return recipes


def read_stage(path: Path, overrides: tuple[str, ...] = ()) -> StageRecipe:
    """Read a recipe file that must be a stage's.

    Raises:
        ConfigError: it does not fit, or has another task.
    """
    recipe = read_recipe(path, overrides)
    if not isinstance(recipe, StageRecipe):
        raise ConfigError(
            f"{path}: task {recipe.task} has no data section: name a recipe whose task is stage."
        )
    return recipe


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Any:
    """Read one recipe file into the record of its task; overrides may name the task before them."""
    path = find_recipe(path)
    task = _task(path)
    return load_record(
        TASKS[task].recipe, path, tuple(each.removeprefix(f"{task}:") for each in overrides)
    )


def _task(path: Path) -> str:
    load_plugins()
    task = read_tree(path).get("task")
    if not isinstance(task, str) or task not in TASKS:
        raise ConfigError(f"{path}: task is {task!r}, wanted one of {', '.join(TASKS)}.")
    return task


def _shared_out(
    overrides: tuple[str, ...], tasks: dict[Path, str], folder: Path
) -> dict[Path, list[str]]:
    """Which of `key=value` and `task:key=value` each recipe of a folder takes."""
    taken: dict[Path, list[str]] = {file: [] for file in tasks}
    for override in overrides:
        named, colon, rest = override.partition(":")
        is_for_one_task = bool(colon) and named in TASKS
        setting = rest if is_for_one_task else override
        takers = [
            file
            for file, task in tasks.items()
            if has_setting(TASKS[task].recipe, setting.partition("=")[0])
            and (not is_for_one_task or task == named)
        ]
        if not takers:
            raise ConfigError(
                f"override {override!r}: no recipe in {folder} has this setting: wanted one that "
                "some have, as key=value or task:key=value, e.g. "
                "stage:loop.parallelism.precision=bf16."
            )
        for file in takers:
            taken[file].append(override)
    return taken


def _run(recipe: Any, stage: Callable[[Any], None]) -> Path:
    """Run one recipe in every process, or in the first alone if it is no training."""
    run: Path = recipe.run
    recipe = _with_begun_warmup(recipe)
    is_longer = _refuse_other_settings(recipe)
    if (run / DONE).exists() and not is_longer:
        if is_main_process():
            tqdm.write(f"{run}: finished before, skipped", file=sys.stderr)
        return run
    barrier()
    if is_main_process():
        run.mkdir(parents=True, exist_ok=True)
        (run / DONE).unlink(missing_ok=True)
        settings = yaml.safe_dump(to_tree(recipe), sort_keys=False, allow_unicode=True)
        (run / ECHO).write_text(settings, encoding="utf-8")
        record_environment(run)
    barrier()
    task = TASKS[recipe.task]
    runner = stage if task.run is train_stage else task.run
    if task.is_distributed or is_main_process():
        runner(recipe)
    barrier()
    if is_main_process():
        (run / DONE).touch()
    return run


def _with_begun_warmup(recipe: Any) -> Any:
    """A recipe that leaves the warm-up to the run's length keeps that of the length it began with.

    So a run that goes on for more steps learns as it did.
    """
    loop: LoopConfig | None = getattr(recipe, "loop", None)
    if loop is None or loop.optimizer.warmup_steps is not None:
        return recipe
    echo = recipe.run / ECHO
    begun = read_tree(echo) if echo.exists() else {}
    before = begun.get("loop", {}).get("optimizer", {}).get("warmup_steps")
    warmup = loop.optimizer.warmup(loop.steps) if before is None else before
    optimizer = replace(loop.optimizer, warmup_steps=warmup)
    return replace(recipe, loop=replace(loop, optimizer=optimizer))


def _refuse_other_settings(recipe: Any) -> bool:
    """Refuse settings that a run in progress must keep; say whether it is to have more steps."""
    echo = recipe.run / ECHO
    if not echo.exists() or not {p.name for p in recipe.run.iterdir()} - NOTES:
        return False
    tree = with_present_names(read_tree(echo))
    with suppress(ConfigError):  # it is of another task
        tree = to_tree(build_record(type(recipe), tree, where=str(echo)))
    before = _flat(tree)
    now = _flat(to_tree(recipe))
    free = [*CHANGEABLE]
    if now.get("loop.optimizer.decay_steps"):
        free.remove("loop.steps")
    changed = [
        name
        for name in before | now
        if before.get(name) != now.get(name)
        and not any(f"{name}.".startswith(f"{each}.") for each in free)
    ]
    if changed:
        told = ", ".join(f"{n}={now.get(n)} (was {before.get(n)})" for n in changed[:SHOWN])
        raise ConfigError(
            f"{recipe.run} was begun with other settings ({echo}), now {told}: choose another "
            "run=FOLDER or delete it, for this changes what is learnt."
        )
    return now.get("loop.steps", 0) > before.get("loop.steps", 0)


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return flat


TASKS: dict[str, Task] = {
    "stage": Task(StageRecipe, train_stage, True),
    "ship": Task(ShipRecipe, ship, False),
}
"""What a recipe's `task` may say, beside what plugins register."""


def register_task(
    name: str, recipe: type, run: Callable[[Any], None], *, is_distributed: bool = False
) -> None:
    """Make a task of recipe files known; a plugin (entry point group `janusflow.plugins`) does so.

    Args:
        name: what `task` says in the file.
        recipe: frozen dataclass that the file fills; it has `task` and `run`, the run folder.
        run: does the task and leaves its result in the run folder.
        is_distributed: every process takes part, instead of the first alone.
    """
    TASKS[name] = Task(recipe, run, is_distributed)
