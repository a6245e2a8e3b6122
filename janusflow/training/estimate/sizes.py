"""What a stage would train, built without memory: configurations are read, no weights.

Nothing is downloaded. Where a recipe for the release's processor names a model that is not at
hand, the release's sizes stand for it, and a note says so.
"""

from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from transformers import AutoConfig, PreTrainedConfig, SiglipVisionConfig

from janusflow.config.errors import CheckpointError
from janusflow.config.model import RepaConfig
from janusflow.config.recipes import StageRecipe
from janusflow.interop.hub import (
    CONFIG,
    OFFICIAL_MODEL,
    OFFICIAL_VAE,
    RUN_MODEL,
    folder_at_hand,
    model_in,
)
from janusflow.interop.load import on_meta
from janusflow.interop.release import release_config, vae_at_hand, vae_on_meta
from janusflow.interop.release_config import read_config
from janusflow.interop.vae import vae_of_model
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.stage.build_model import special_tokens
from janusflow.training.stage.freezing import set_trainable


class Sizes(NamedTuple):
    """A stage's parts, its trained ones marked, on the meta device."""

    model: JanusFlowForConditionalGeneration
    vae: AutoencoderKL
    processor: JanusFlowProcessor | None
    notes: list[str]


def sizes_of(recipe: StageRecipe) -> Sizes:
    """Build what a recipe would train.

    Raises:
        CheckpointError: a configuration is not at hand and the release's cannot stand for it.
    """
    notes: list[str] = []
    folder = folder_at_hand(recipe.processor)
    folder = model_in(folder) or folder
    processor = None if folder is None else JanusFlowProcessor.from_pretrained(folder)
    if recipe.start is not None:
        config = _started(recipe, notes)
    else:
        config = _new(dict(recipe.new or {}), recipe, processor, notes)
    model = on_meta(config)
    with torch.device("meta"):
        set_trainable(model, recipe)
    return Sizes(model, _vae(recipe, notes), processor, notes)


def _started(recipe: StageRecipe, notes: list[str]) -> JanusFlowConfig:
    start, added = str(recipe.start), (recipe.new or {}).get("repa")
    folder = folder_at_hand(start)
    if found := model_in(folder):
        config = read_config(found)
        if added is not None and config.repa is None:
            config.repa = added
        return config
    _require_release(recipe, start)
    notes.append(f"start={start} is not at hand: sizes of {OFFICIAL_MODEL} are assumed.")
    is_bare = start == OFFICIAL_MODEL and added is None
    return release_config(repa=None if is_bare else RepaConfig(**(added or {})))


def _new(
    settings: dict[str, Any],
    recipe: StageRecipe,
    processor: JanusFlowProcessor | None,
    notes: list[str],
) -> JanusFlowConfig:
    tower, llm = settings.pop("tower", None), settings.pop("llm", None)
    release = release_config()

    def found(where: Any, kind: Any, otherwise: PreTrainedConfig) -> PreTrainedConfig:
        folder = folder_at_hand(where) if where is not None else None
        if folder is not None and (folder / RUN_MODEL / CONFIG).is_file():
            return read_config(folder / RUN_MODEL).llm_config
        if folder is not None and (folder / CONFIG).is_file():
            return kind.from_pretrained(folder)
        _require_release(recipe, str(where))
        notes.append(f"{where} is not at hand: sizes of {OFFICIAL_MODEL} are assumed.")
        return otherwise

    settings["vision_config"] = found(tower, SiglipVisionConfig, release.vision_config)
    if llm is not None:
        settings["llm_config"] = found(llm, AutoConfig, release.llm_config)
    tokens = {} if processor is None else special_tokens(processor)
    return JanusFlowConfig(**(tokens | settings))


def _vae(recipe: StageRecipe, notes: list[str]) -> AutoencoderKL:
    folder = folder_at_hand(recipe.vae)
    model = model_in(folder)
    named = vae_of_model(model) if model is not None else None
    elsewhere = [] if named is None else [folder_at_hand(named)]
    vae = vae_at_hand([folder, model, *elsewhere])
    if vae is not None:
        return vae
    if OFFICIAL_VAE not in (recipe.vae, named):
        _require_release(recipe, recipe.vae)
    notes.append(f"vae={recipe.vae} is not at hand: sizes of {OFFICIAL_VAE} are assumed.")
    return vae_on_meta()


def _require_release(recipe: StageRecipe, what: str) -> None:
    """The release's sizes may stand for parts of a recipe that names its processor."""
    if recipe.processor != OFFICIAL_MODEL:
        raise CheckpointError(
            f"{what}: no {CONFIG} at hand, so its sizes are unknown: run the step before, download "
            "it, or name a folder on the command line (e.g. start=FOLDER)."
        )
