"""The model a stage starts from: an earlier one, the release, or a new one around trained parts."""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    SiglipVisionModel,
)

from janusflow.config.data import DataConfig
from janusflow.config.errors import CheckpointError, ConfigError, DataError
from janusflow.config.recipes import StageRecipe
from janusflow.config.records import refuse_unknown
from janusflow.config.training import VaeEncodingConfig
from janusflow.interop.hub import PROCESSOR_FILES, RUN_MODEL, find_folder, find_model, model_in
from janusflow.interop.load import load_model
from janusflow.interop.vae import load_vae
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

READ_BESIDES = ("model_type", "rope_theta", "rope_scaling")
"""What transformers' configurations read though it is no field of theirs."""
PLANS = "scene-plans"
"""The format of samples that teach to plan; with others, say new.plans=true."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def encoding_vae(vae: AutoencoderKL, config: VaeEncodingConfig) -> AutoencoderKL:
    """A VAE as a stage encodes with it: itself, or a copy of other precision or layout."""
    if config.precision == "fp32" and not config.channels_last:
        return vae
    layout = torch.channels_last if config.channels_last else torch.preserve_format
    to: Any = nn.Module.to  # diffusers' own knows no memory format, and this one types none
    return to(copy.deepcopy(vae), DTYPES[config.precision], memory_format=layout)


def start_model(
    recipe: StageRecipe, processor: JanusFlowProcessor
) -> JanusFlowForConditionalGeneration:
    """Load or build a stage's model in float32: steps move weights by less than halves can show.

    Only what an adapter leaves frozen may rest in bfloat16.

    Raises:
        ConfigError: the recipe says neither what to start from nor what to build.
        CheckpointError: a folder is missing or holds something else.
    """
    settings = dict(recipe.new or {})
    if recipe.start is None:
        return new_model(settings, processor, where=str(recipe.run))
    folder = find_model(recipe.start)
    repa, image_attention = settings.pop("repa", None), settings.pop("image_attention", None)
    plans = settings.pop("plans", None)
    if settings:
        raise ConfigError(
            f"{recipe.run}: start={recipe.start} and new={', '.join(settings)}: a model that is "
            "there already takes only new.repa, for a head it lacks, new.image_attention and "
            "new.plans."
        )
    frozen = "fp32" if recipe.tune is None else recipe.tune.base_precision
    model = load_model(folder, dtype=DTYPES[frozen])
    if image_attention is not None:
        model.config.change_image_attention(image_attention)
    if plans is None:
        # What a model learnt to plan before says nothing of what it draws after this stage.
        plans = teaches_plans(recipe.data)
    if not isinstance(plans, bool):
        raise ConfigError(f"{recipe.run}: new.plans={plans}: wanted true or false.")
    model.config.plans = plans
    if repa is not None and model.repa_head is None:
        model.add_repa_head(repa)
    return model


def teaches_plans(data: DataConfig) -> bool:
    """Whether a stage's data has plans to write, or images that are drawn from plans."""
    written = any(source.format == PLANS for source in data.understanding)
    return written or any(source.options.get("planned") for source in data.generation)


def load_processor_and_vae(recipe: StageRecipe) -> tuple[JanusFlowProcessor, AutoencoderKL]:
    """What a stage reads its words and images with, each named as a model is or by itself.

    Raises:
        CheckpointError: one is missing or damaged.
    """
    folder = find_folder(recipe.processor, files=PROCESSOR_FILES)
    processor = JanusFlowProcessor.from_pretrained(model_in(folder) or folder)
    return processor, load_vae(recipe.vae)


def new_model(
    settings: dict[str, Any], processor: JanusFlowProcessor, *, where: str
) -> JanusFlowForConditionalGeneration:
    """Build a model from JanusFlowConfig's arguments around a trained tower, and LLM if named.

    `tower` and `llm` are folders or hub ids, `llm` also a run, whose model's LLM is taken; without
    `llm`, `llm_config` says what to start at random. The special tokens are the processor's.
    """
    if "tower" not in settings or not settings.keys() & {"llm", "llm_config"}:
        raise ConfigError(
            f"{where}: new={', '.join(settings) or 'nothing'} and no start: name a model to start "
            "from, or new.tower with new.llm or new.llm_config."
        )
    unsettable = ("model_type", "sub_configs_defaults", "vision_config", "official")
    known = [n for n in JanusFlowConfig.__annotations__ if n not in unsettable]
    refuse_unknown(settings, ["tower", "llm", *known], where=f"{where}: new")
    tower = _pretrained(SiglipVisionModel, settings.pop("tower"))
    llm = _trained_llm(settings.pop("llm")) if "llm" in settings else None
    if llm is not None:
        if llm.config.vocab_size < len(processor.tokenizer):
            llm.resize_token_embeddings(len(processor.tokenizer))
        settings["llm_config"] = llm.config
    elif isinstance(settings["llm_config"], dict):
        refuse_unknown_llm(settings["llm_config"], where=f"{where}: new.llm_config")
    settings = special_tokens(processor) | settings
    config = JanusFlowConfig(vision_config=tower.config, **settings)
    model = JanusFlowForConditionalGeneration(config)
    model.understanding_encoder.load_state_dict(tower.state_dict())
    if llm is not None:
        model.llm.load_state_dict(llm.state_dict())
    return model


def refuse_unknown_settings(
    settings: Iterable[str], kind: type[PreTrainedConfig], *, where: str
) -> None:
    """Refuse names that a configuration of transformers would keep without ever reading them."""
    own = [field.name for field in fields(cast(Any, kind))]
    refuse_unknown(settings, [*own, *kind.attribute_map, *READ_BESIDES], where=where)


def refuse_unknown_llm(settings: Mapping[str, Any], *, where: str) -> None:
    """The same for any language model, by its model_type."""
    model_type = str(settings.get("model_type"))
    if model_type in CONFIG_MAPPING:  # JanusFlowConfig refuses others
        refuse_unknown_settings(settings, CONFIG_MAPPING[model_type], where=where)


def _trained_llm(where: str) -> PreTrainedModel:
    inside = Path(where) / RUN_MODEL
    if inside.is_dir():
        return load_model(inside, dtype=torch.float32).llm
    return _pretrained(AutoModelForCausalLM, where)


def _pretrained(kind: Any, where: str) -> PreTrainedModel:
    try:
        model = kind.from_pretrained(where, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(
            f"{where} holds no {kind.__name__} that transformers can load ({reason}): name a "
            "folder or a hub id."
        ) from error
    model.config.name_or_path = ""  # else every model built from it names a folder of this machine
    return model


def special_tokens(processor: JanusFlowProcessor) -> dict[str, Any]:
    """A processor's special tokens, as JanusFlowConfig's arguments."""
    names = ("bos", "eos", "pad", "image", "image_start", "image_end")
    return {f"{name}_token_id": getattr(processor, f"{name}_token_id") for name in names}


def made_by_earlier_step(path: Path) -> Path:
    """Refuse a recipe that needs a file no recipe has made yet.

    Raises:
        DataError: the file is not there.
    """
    if not path.is_file():
        raise DataError(
            f"{path} is missing: run the recipe that makes it first (janusflow train mini)."
        )
    return path
