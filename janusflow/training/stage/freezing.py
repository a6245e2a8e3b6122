"""What a stage trains: parts by the paper's names (section 3.3, Table 1), or an adapter."""

from collections.abc import Sequence

from torch import nn

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.tuning.inject import add_adapter

PARTS: dict[str, tuple[str, ...]] = {
    "aligners": (
        "understanding_aligner",
        "generation_encoder_aligner",
        "generation_decoder_aligner",
        "generation_decoder_norm",
        "begin_of_understanding",
    ),
    "generation_encoder": ("generation_encoder", "latent_encoder"),
    "generation_decoder": ("generation_decoder",),
    "repa_head": ("repa_head",),
    "llm": ("llm",),
    "understanding_encoder": ("understanding_encoder",),
}
"""Part name -> the model's attributes. Together they are the whole model.

`latent_encoder` is there only with `understanding_input: separate` (paper Table 6, row C).
"""


def set_trainable(model: JanusFlowForConditionalGeneration, recipe: StageRecipe) -> None:
    """Mark what a recipe trains, and freeze the rest; with `tune` the model gets the adapter.

    What trains in full beside an adapter are modules, so `begin_of_understanding`, a parameter of
    its own, stays frozen then.

    Raises:
        ConfigError: there is no such part, nothing of its name to adapt, or it is the whole LLM.
    """
    if recipe.tune is None:
        train_only(model, recipe.trainable)
        return
    _require_known(recipe.trainable)
    if "llm" in recipe.trainable:
        raise ConfigError(
            f"trainable={list(recipe.trainable)} beside tune: the LLM cannot train in full beside "
            "an adapter: adapt it (tune.on: [llm]), or leave tune out."
        )
    children = dict(model.named_children())
    whole = [name for part in recipe.trainable for name in PARTS[part] if name in children]
    add_adapter(model, recipe.tune, modules_to_save=whole)
    _freeze_pooling(model)


def trains_tower(recipe: StageRecipe) -> bool:
    """Whether a stage changes what the tower sees, in full or by an adapter."""
    adapted = () if recipe.tune is None else recipe.tune.on
    whole = "understanding_encoder"
    return whole in recipe.trainable or any(
        name == "understanding" or f"{name}.".startswith(f"{whole}.") for name in adapted
    )


def train_only(model: JanusFlowForConditionalGeneration, parts: Sequence[str]) -> None:
    """Freeze everything but the named parts.

    The tower's pooling head never runs inside JanusFlow, so it stays frozen.
    """
    if not parts:
        raise ConfigError(f"trainable=[]: wanted at least one of {', '.join(PARTS)}, or tune.")
    _require_known(parts)
    wanted = {attribute for part in parts for attribute in PARTS[part]}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in wanted)
    _freeze_pooling(model)


def _require_known(parts: Sequence[str]) -> None:
    if any(part not in PARTS for part in parts):
        raise ConfigError(f"trainable={list(parts)}: wanted some of {', '.join(PARTS)}.")


def _freeze_pooling(model: JanusFlowForConditionalGeneration) -> None:
    head = getattr(model.understanding_encoder, "head", None)
    if isinstance(head, nn.Module):
        head.requires_grad_(False)
