"""Run a stage recipe: build or load the model, train the named parts, save the average.

The `model/` folder a stage leaves is complete (weights, processor, VAE): `janusflow.load` takes the
run's folder, and the next stage starts from it.
"""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import SiglipVisionModel

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import ShipRecipe, StageRecipe
from janusflow.data.collate import Collator, TrainBatch
from janusflow.data.mixture import Draw, Kind, mixed, mixed_batches
from janusflow.mini.dataset import SceneFolder
from janusflow.mini.easy_vqa import WHEEL, EasyVqa
from janusflow.mini.sources import SceneSources
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.loop import Hook, StepReport, TrainState, check_finite, train
from janusflow.training.objective import JanusFlowObjective
from janusflow.training.parts import train_only
from janusflow.training.pretrain import (
    LATENTS,
    VAE,
    averaged,
    log_hook,
    made_by_earlier_step,
)
from janusflow.training.processes import is_first, own_parts

MODEL = "model"
CONFIG = "config.json"


def train_stage(recipe: StageRecipe, hooks: tuple[Hook, ...] = ()) -> None:
    """Train one stage and leave `model/` in its run folder."""
    torch.manual_seed(recipe.loop.seed)
    model = start_model(recipe)
    train_only(model, recipe.trainable)
    made_by_earlier_step(recipe.vae / VAE / CONFIG)
    vae = AutoencoderKL.from_pretrained(recipe.vae / VAE, low_cpu_mem_usage=False)
    made_by_earlier_step(recipe.processor / "processor_config.json")
    processor = JanusFlowProcessor.from_pretrained(recipe.processor)
    sources = stage_sources(recipe, vae)
    collate = Collator(
        processor.tokenizer.backend_tokenizer, model.config, row_tokens=recipe.mixture.row_tokens
    )

    def batches(step: int) -> Iterator[list[TrainBatch]]:
        return mixed_batches(
            sources,
            collate,
            recipe.mixture,
            seed=recipe.loop.seed,
            step=step,
            own_parts=partial(own_parts, num_parts=recipe.loop.accumulate),
        )

    state = train(
        JanusFlowObjective(model, recipe.objective),
        batches,
        recipe.loop,
        run=recipe.run,
        hooks=[log_hook(recipe.run, recipe.loop), ModelHook(recipe, processor, vae), *hooks],
    )
    if is_first():
        save_model(state, recipe.run, processor, vae)


def stage_sources(recipe: StageRecipe, vae: AutoencoderKL) -> dict[Kind, Draw]:
    """Where the stage's samples of each kind come from."""
    scenes = SceneSources(
        SceneFolder(recipe.scenes),
        recipe.vae / LATENTS,
        scaling_factor=float(vae.config["scaling_factor"]),
        drawing_shares=recipe.drawing_shares,
    )
    sources = dict(scenes.by_kind())
    if recipe.easy_vqa is not None:
        others = EasyVqa(recipe.easy_vqa / WHEEL, "train")
        sources["understanding"] = mixed(
            scenes.understanding, others.draw, share_of_second=recipe.easy_vqa_share
        )
    return sources


class ModelHook:
    """Keeps `model/` at the newest average, so that a run can be tried while it goes on."""

    def __init__(
        self, recipe: StageRecipe, processor: JanusFlowProcessor, vae: AutoencoderKL
    ) -> None:
        self.every, self.processor, self.vae = recipe.loop.save_every, processor, vae

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Save when due."""
        if report.step % self.every == 0:
            check_finite(report)
            save_model(state, state.run, self.processor, self.vae)


def save_model(
    state: TrainState, run: Path, processor: JanusFlowProcessor, vae: AutoencoderKL
) -> None:
    """Write the averaged model, complete, beside `model/`, then put it in its place."""
    new, old = run / f"{MODEL}.new", run / f"{MODEL}.old"
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    model = cast(JanusFlowForConditionalGeneration, state.objective.get_submodule("model"))
    with averaged(state):
        model.save_pretrained(new)
    processor.save_pretrained(new)
    vae.save_pretrained(new / VAE)
    if (run / MODEL).exists():
        (run / MODEL).rename(old)
    new.rename(run / MODEL)
    shutil.rmtree(old, ignore_errors=True)


def ship(recipe: ShipRecipe) -> None:
    """Store a run's weights as float16: 11 bits of mantissa lose less than bfloat16's 8."""
    source, target = recipe.start / MODEL, recipe.run / MODEL
    made_by_earlier_step(source / CONFIG)
    shutil.copytree(source, target, dirs_exist_ok=True)
    model = JanusFlowForConditionalGeneration.from_pretrained(source, dtype=torch.float16)
    model.save_pretrained(target)


def start_model(recipe: StageRecipe) -> JanusFlowForConditionalGeneration:
    """Load the model a stage starts from, or build a new one around pretrained parts."""
    if recipe.start is not None:
        is_run = (recipe.start / MODEL).is_dir()
        folder = recipe.start / MODEL if is_run else recipe.start
        made_by_earlier_step(folder / CONFIG)
        # Stored halves are for shipping; training moves weights by less than a half can show.
        return JanusFlowForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    if recipe.new is None or "tower" not in recipe.new:
        raise ConfigError(
            f"{recipe.run}: neither start nor new (with its tower) is set. Name a model folder or "
            "build a model."
        )
    settings = dict(recipe.new)
    tower = Path(str(settings.pop("tower")))
    vision = json.loads(made_by_earlier_step(tower / CONFIG).read_text(encoding="utf-8"))
    model = JanusFlowForConditionalGeneration(JanusFlowConfig(vision_config=vision, **settings))
    pretrained = SiglipVisionModel.from_pretrained(tower)
    model.understanding_encoder.load_state_dict(pretrained.state_dict())
    return model
