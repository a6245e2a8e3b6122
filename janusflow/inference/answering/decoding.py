"""Conversations to tokens: read them, choose the next token, read that.

Knows the model and its key-value cache, neither text nor files. `answers.py` has the loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from sys import maxsize
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BatchFeature

from janusflow.config.errors import ConfigError, PromptError
from janusflow.model.cache import growing_cache
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache

NOT_FINITE = -1
"""In place of a token whose logits are not finite numbers."""

NAMES_HERE = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "max_length": "max_new_tokens (of the answer alone)",
    "do_sample": "temperature (0 is greedy, more draws)",
    "generator": "seed",
}


@dataclass(frozen=True, kw_only=True)
class AnsweringSettings:
    """How tokens are chosen."""

    max_new_tokens: int = 512
    """An answer is cut here, and where it would not fit in the model's context any more."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, tokens are drawn, the higher the more varied."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that make up this much probability; 1 is all of them."""

    def __post_init__(self) -> None:
        for name in ("temperature", "top_p"):
            if not isfinite(getattr(self, name)):
                raise ConfigError(f"{name}={getattr(self, name)} is not a finite number.")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens}: at least 1 is needed.")
        if self.temperature < 0:
            raise ConfigError(
                f"temperature={self.temperature} is negative. Use 0 for the likeliest answer, up "
                "to 1 for variety."
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p} is outside (0, 1]. Use 1 for all tokens.")


def settings_of(
    max_new_tokens: int, temperature: float, top_p: float, unknown: Mapping[str, object]
) -> AnsweringSettings:
    """Settings as a call gives them; other libraries' arguments are refused with the names here.

    Raises:
        ConfigError: an argument is unknown, or a value is out of range.
    """
    for name, value in unknown.items():
        here = NAMES_HERE.get(name)
        raise ConfigError(
            f"{name}={value!r:.40}: it is {here} here."
            if here
            else f"{name}={value!r:.40} is unknown here: use max_new_tokens, temperature, top_p or "
            "seed; jf.model.generate has all of transformers' arguments."
        )
    return AnsweringSettings(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p)


def require_context(length: int, config: JanusFlowConfig, *, more: int = 1) -> None:
    """Refuse a conversation that leaves no room in the model's context.

    Args:
        length: tokens of the conversation, those of its images included.
        config: `max_position_embeddings` of its LLM is the context; None is unlimited.
        more: tokens that are to follow.

    Raises:
        PromptError: conversation and following tokens are longer than the context.
    """
    if length + more > context_length(config):
        raise PromptError(
            f"the conversation has {length} tokens, those of its images included, and the model "
            f"reads {context_length(config)} with its answer: shorten it or show fewer images."
        )


def context_length(config: JanusFlowConfig) -> int:
    """Positions that the LLM was made for."""
    return getattr(config.get_text_config(), "max_position_embeddings", None) or maxsize


@torch.no_grad()
def prefill(
    model: JanusFlowForConditionalGeneration, inputs: BatchFeature
) -> tuple[Float[Tensor, "b v"], PrefixCache]:
    """Read conversations once: the logits of their next tokens, and the cache to go on from."""
    mask = inputs["attention_mask"].to(model.device)
    cache = PrefixCache(
        cache=growing_cache(model.config.llm_config),
        attention_mask=mask,
        next_position=mask.sum(-1),
    )
    pixels = inputs.get("pixel_values")
    pixels = None if pixels is None else pixels.to(model.device)
    logits = _read(model, inputs["input_ids"], cache, pixel_values=pixels, logits_to_keep=1)
    return logits[:, -1], cache


@torch.no_grad()
def read_tokens(
    model: JanusFlowForConditionalGeneration, token_ids: Int[Tensor, "b q"], cache: PrefixCache
) -> tuple[Float[Tensor, "b q v"], PrefixCache]:
    """Read the next tokens of every row: logits after each, and the cache, grown in place."""
    mask = cache.attention_mask
    grown = PrefixCache(
        cache=cache.cache,
        attention_mask=torch.cat([mask, mask.new_ones(token_ids.shape)], dim=1),
        next_position=cache.next_position + token_ids.shape[1],
    )
    return _read(model, token_ids, grown), grown


def _read(
    model: JanusFlowForConditionalGeneration,
    token_ids: Int[Tensor, "b q"],
    context: PrefixCache,
    **inputs: Any,
) -> Float[Tensor, "b k v"]:
    # An answer grows with every token, so a compiled model would be compiled over and over.
    with torch.compiler.set_stance("force_eager"):
        return model(
            token_ids.to(model.device),
            attention_mask=context.attention_mask,
            cache=context.cache,
            use_cache=True,
            **inputs,
        ).logits


def choose_tokens(
    logits: Float[Tensor, "b v"],
    settings: Sequence[AnsweringSettings],
    generators: Sequence[torch.Generator],
) -> list[int]:
    """Choose every row's next token by its own settings; NOT_FINITE where its logits are none.

    The device is waited for once. Draws are made on the CPU, so that a seed means the same
    everywhere.
    """
    highest, likeliest = logits.max(-1)
    likeliest = likeliest.where(highest.isfinite(), NOT_FINITE)
    if not any(each.temperature for each in settings):
        return likeliest.tolist()

    def column(values: list[float]) -> Float[Tensor, "b 1"]:
        return torch.tensor(values, device=logits.device)[:, None]

    # float32: bfloat16 probabilities of a large vocabulary do not sum to 1.
    scaled = logits.float() / column([each.temperature or 1.0 for each in settings])
    top_p = [each.top_p for each in settings]
    probabilities = scaled.softmax(-1)
    if min(top_p) < 1.0:
        probabilities = nucleus(probabilities, top_p=column(top_p))
    # One transfer for both: float32 holds every token id.
    rows = torch.cat([likeliest[:, None], probabilities], dim=1).cpu()
    return [
        int(torch.multinomial(row[1:], 1, generator=generator))
        if each.temperature and row[0] != NOT_FINITE
        else int(row[0])
        for row, each, generator in zip(rows, settings, generators, strict=True)
    ]


def nucleus(
    probabilities: Float[Tensor, "b v"], *, top_p: Float[Tensor, "b 1"]
) -> Float[Tensor, "b v"]:
    """Set to 0 all but the likeliest tokens that together reach `top_p`; at least one stays."""
    ordered, order = probabilities.sort(descending=True, dim=-1)
    before = ordered.cumsum(-1) - ordered
    # Sums may round above 1, and 1 means all tokens.
    kept = ordered.where((before < top_p) | (top_p >= 1.0), 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)


def end_ids(eos_token_id: int | list[int] | None) -> set[int]:
    """The ids that end an answer."""
    if eos_token_id is None:
        return set()
    return {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id)
