"""The parts a stage may train, by the paper's names (section 3.3, Table 1)."""

from collections.abc import Sequence

from torch import nn

from janusflow.config.errors import ConfigError
from janusflow.model.modeling import JanusFlowForConditionalGeneration

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


def train_only(model: JanusFlowForConditionalGeneration, parts: Sequence[str]) -> None:
    """Freeze everything but the named parts.

    The tower's pooling head never runs inside JanusFlow, so it stays frozen.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ConfigError(f"trainable={list(parts)}: wanted at least one of {', '.join(PARTS)}.")
    wanted = {attribute for part in parts for attribute in PARTS[part]}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in wanted)
    head = getattr(model.understanding_encoder, "head", None)
    if isinstance(head, nn.Module):
        head.requires_grad_(False)
