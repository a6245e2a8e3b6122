"""The model a stage starts from: an earlier one, the release, or a new one around trained parts."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, SiglipVisionModel

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.interop.hub import find_folder
from janusflow.interop.load import load_model
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

MODEL = "model"
"""Folder inside a run that holds its model."""


def start_model(
    recipe: StageRecipe, processor: JanusFlowProcessor
) -> JanusFlowForConditionalGeneration:
    """Load or build a stage's model in float32: steps move weights by less than halves can show.

    Raises:
        ConfigError: the recipe says neither what to start from nor what to build.
        CheckpointError: a folder is missing or holds something else.
    """
    settings = dict(recipe.new or {})
    if recipe.start is None:
        return new_model(settings, processor, where=str(recipe.run))
    folder = model_folder(recipe.start)
    repa = settings.pop("repa", None)
    if settings:
        raise ConfigError(
            f"{recipe.run}: start={recipe.start} and new={', '.join(settings)}: a model that is "
            "there already takes only new.repa, for a head it lacks."
        )
    model = load_model(folder, dtype=torch.float32)
    if repa is not None and model.repa_head is None:
        model.add_repa_head(repa)
    return model


def model_folder(start: str) -> Path:
    """The folder of a model that is named by a run, a model folder or a hub id."""
    inside = Path(start) / MODEL
    return inside if inside.is_dir() else find_folder(start)


def new_model(
    settings: dict[str, Any], processor: JanusFlowProcessor, *, where: str
) -> JanusFlowForConditionalGeneration:
    """Build a model from JanusFlowConfig's arguments around a trained tower, and LLM if named.

    `tower` and `llm` are folders or hub ids; without `llm`, `llm_config` says what to start at
    random. The special tokens are the processor's.
    """
    if "tower" not in settings or not settings.keys() & {"llm", "llm_config"}:
        raise ConfigError(
            f"{where}: new={', '.join(settings) or 'nothing'} and no start: name a model to start "
            "from, or new.tower with new.llm or new.llm_config."
        )
    tower = _pretrained(SiglipVisionModel, settings.pop("tower"))
    llm = _pretrained(AutoModelForCausalLM, settings.pop("llm")) if "llm" in settings else None
    if llm is not None:
        if llm.config.vocab_size < len(processor.tokenizer):
            llm.resize_token_embeddings(len(processor.tokenizer))
        settings["llm_config"] = llm.config
    settings = special_tokens(processor) | settings
    config = JanusFlowConfig(vision_config=tower.config, **settings)
    model = JanusFlowForConditionalGeneration(config)
    model.understanding_encoder.load_state_dict(tower.state_dict())
    if llm is not None:
        model.llm.load_state_dict(llm.state_dict())
    return model


def _pretrained(kind: Any, where: str) -> PreTrainedModel:
    try:
        return kind.from_pretrained(where, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{where} holds no {kind.__name__} that transformers can load ({reason}): name a "
            "folder or a hub id."
        ) from error


def special_tokens(processor: JanusFlowProcessor) -> dict[str, Any]:
    """A processor's special tokens, as JanusFlowConfig's arguments."""
    names = ("bos", "eos", "pad", "image", "image_start", "image_end")
    return {f"{name}_token_id": getattr(processor, f"{name}_token_id") for name in names}
