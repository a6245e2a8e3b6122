"""A stage that learns an adapter of a tiny model, in a second; also one that is killed."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from tiny_run import make_sources, run_model, run_processor, run_vae
from tiny_stage import RATIOS

from janusflow.config.recipes import StageRecipe
from janusflow.inference.previews import draw_and_answer
from janusflow.interop.saving import write_folder
from janusflow.training.engine.checkpoint import checkpoints
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.recipes import read_stage
from janusflow.training.stage.stage import train_stage

BOTH_HALVES = ["llm", "generation", "aligners"]
PROMPTS = ["a red circle", "two blue squares"]
STEPS = 4


def write_base(root: Path) -> Path:
    """Scenes with latents, and a complete model to adapt."""
    make_sources(root / "scenes")
    write_folder(root / "base", model=run_model(), processor=run_processor(), vae=run_vae())
    return root


def adapter_recipe(root: Path, run: Path, *, tune: Any = None, **changes: Any) -> StageRecipe:
    """The recipe, read from a file; `changes` are of its sections' keys."""
    scenes = {"format": "scenes", "path": str(root / "scenes")}
    base = str(root / "base")
    loop: dict[str, Any] = {
        "steps": STEPS,
        "save_every": 2,
        "ema": 0.5,
        "optimizer": {"learning_rate": 0.01, "warmup_steps": 0},
    }
    tree = {
        "task": "stage",
        "run": str(run),
        "start": base,
        "processor": base,
        "vae": base + "/vae",
        "data": {
            "understanding": [scenes],
            "generation": [scenes | {"options": {"latents": str(root / "scenes/latents.npy")}}],
            "text": [scenes],
        },
        "tune": {"rank": 4, "on": BOTH_HALVES} | (tune or {}),
        "mixture": {"batch_size": 4, "row_tokens": 400, "ratios": RATIOS},
        "loop": loop | changes.pop("loop", {}),
    }
    run.parent.mkdir(parents=True, exist_ok=True)
    path = run.parent / f"{run.name}.yaml"
    path.write_text(yaml.safe_dump(tree | changes), encoding="utf-8")
    return read_stage(path)


def shown_recipe(root: Path, run: Path, **changes: Any) -> StageRecipe:
    """One that draws samples after its last step."""
    recipe = adapter_recipe(root, run, **changes)
    log = replace(recipe.log, samples_every=STEPS, prompts=tuple(PROMPTS))
    return replace(recipe, log=log)


def train_shown(recipe: StageRecipe) -> Path:
    """Train it, and return its run folder."""
    train_stage(recipe, sampler=draw_and_answer)
    return recipe.run


class KillAfter:
    """Lets the system kill the process after a step, once there is a checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, state: TrainState, report: StepReport) -> None:
        if report.step == self.step:
            while not checkpoints(state.run):  # which is written beside the training
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)


def killed_stage(root: Path, run: Path, step: int, tune: dict[str, Any]) -> None:
    """Train, and be killed after a step."""
    train_stage(adapter_recipe(root, run, tune=tune), hooks=(KillAfter(step),))
