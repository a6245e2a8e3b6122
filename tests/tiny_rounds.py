"""Rounds of preference learning on the tiny model, also as one of several processes."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from PIL import Image
from tiny_run import TinySources, make_collator, run_model, run_processor, run_vae
from torch import Tensor

from janusflow.config.data import DataConfig
from janusflow.config.learning.log import LogConfig
from janusflow.config.learning.preference import PreferenceConfig, RewardConfig
from janusflow.config.recipes import StageRecipe
from janusflow.config.records import build_record
from janusflow.config.training import (
    LoopConfig,
    MixtureConfig,
    ObjectiveConfig,
    OptimizerConfig,
    ParallelismConfig,
    Ratio,
)
from janusflow.data.batches.mixture import mixed_batches
from janusflow.data.sources.base import BadRows
from janusflow.inference.rollouts import OwnRollouts
from janusflow.interop.load import filled_model
from janusflow.training.engine.distributed import leave_group
from janusflow.training.engine.loop import Hook, TrainState, train
from janusflow.training.engine.parallelize import full_state_dict
from janusflow.training.objectives.preference import PreferenceObjective
from janusflow.training.stage.freezing import train_only
from janusflow.training.stage.rounds import Rounds

TRAINED = ("generation_encoder", "generation_decoder", "llm")
MIXTURE = MixtureConfig(
    batch_size=4, row_tokens=400, ratios=(Ratio(understanding=1.0, generation=1.0, text=0.0),)
)
SETTINGS: dict[str, Any] = {
    "rewards": (RewardConfig(name="tiny_rounds:redness"),),
    "prompts_per_round": 2,
    "images_per_prompt": 4,
    "steps_per_round": 3,
    "drawing_steps": 2,
}


def redness(_jf: object, _prompt: str, images: Sequence[Image.Image]) -> list[float]:
    """How much redder than blue an image is on average."""
    pixels = [np.asarray(image, dtype=float) for image in images]
    return [float(each[..., 0].mean() - each[..., 2].mean()) for each in pixels]


def one(*_of: object) -> list[float]:
    """A reward that forgets all images but one."""
    return [1.0]


def preference_objective(config: PreferenceConfig) -> PreferenceObjective:
    """A tiny model of which some parts train."""
    model = run_model()
    model.config.plans = config.planned > 0
    train_only(model, TRAINED)
    objective = ObjectiveConfig(alignment="none", drop_prompt=0.0)
    build = partial(filled_model, model.config, device="cpu")
    return PreferenceObjective(model, objective, vae=run_vae(), preference=config, build=build)


def rounds_of(
    sources: TinySources,
    objective: PreferenceObjective,
    *,
    run: Path,
    loop: LoopConfig,
    rollouts: OwnRollouts | None = None,
    log: LogConfig | None = None,
) -> Rounds:
    """What makes the batches of a run."""
    parts: dict[str, Any] = {"loop": loop, "mixture": MIXTURE, "log": log or LogConfig()}
    recipe = StageRecipe(task="stage", run=run, start="tiny", data=DataConfig(), **parts)
    run.mkdir(parents=True, exist_ok=True)
    collate = make_collator(objective.model)
    return Rounds(
        recipe=recipe,
        objective=objective,
        processor=run_processor(),
        collate=collate,
        prompts=sources.by_kind["generation"],
        rollouts=OwnRollouts() if rollouts is None else rollouts,
        bad=BadRows(max_share=1.0),
        mixed=lambda step: mixed_batches(
            sources.by_kind, collate, MIXTURE, seed=loop.seed, step=step
        ),
    )


def train_rounds(
    sources: TinySources,
    run: Path,
    *,
    steps: int,
    hooks: tuple[Hook, ...] = (),
    loop: LoopConfig | None = None,
    rollouts: OwnRollouts | None = None,
    log: LogConfig | None = None,
    **changes: Any,
) -> TrainState:
    """Train some steps, going on where the run was."""
    optimizer = OptimizerConfig(learning_rate=0.01, warmup_steps=0)
    loop = replace(
        loop or LoopConfig(), steps=steps, save_every=2, ema=0.5, optimizer=optimizer, keep=9
    )
    objective = preference_objective(PreferenceConfig(**{**SETTINGS, **changes}))
    rounds = rounds_of(sources, objective, run=run, loop=loop, rollouts=rollouts, log=log)
    return train(objective, rounds.batches, loop, run=run, hooks=hooks)


def weights_of(state: TrainState) -> dict[str, Tensor]:
    """Trained weights, and those of the policy that draws."""
    objective = cast(PreferenceObjective, state.objective)
    learnt = full_state_dict(objective.model, on_all=True)
    with objective.policy(objective.old):
        old = full_state_dict(objective.model, on_all=True)
    return learnt | {f"old.{name}": value for name, value in old.items()}


def take_part(scenes: Path, out: Path, rank: int, num: int, settings: str, changes: str) -> None:
    """Be one of several processes; the first leaves the weights in `out`."""
    meeting = f"file://{out}.meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=num)
    loop = LoopConfig(parallelism=build_record(ParallelismConfig, json.loads(settings), where=""))
    state = train_rounds(
        TinySources(scenes), out.parent / "run", steps=4, loop=loop, **json.loads(changes)
    )
    weights = weights_of(state)
    if rank == 0:
        torch.save(weights, out)
    dist.barrier()
    leave_group()
