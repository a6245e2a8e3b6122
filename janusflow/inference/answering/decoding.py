"""Conversations to tokens: read them, choose the next token, read that.

Knows the model and its key-value cache, neither text nor files. `answers.py` has the loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from sys import maxsize
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from janusflow.config.errors import ConfigError, PromptError
from janusflow.config.keywords import refuse_unknown
from janusflow.model.cache import GrowingCache
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache

NOT_FINITE = -1
"""In place of a token whose logits are not finite numbers."""

NAMES_HERE = {
    "max_tokens": "it is max_new_tokens here",
    "max_completion_tokens": "it is max_new_tokens here",
    "max_length": "it is max_new_tokens here, of the answer alone",
    "do_sample": "it is temperature here: 0 is greedy, more draws",
    "generator": "it is seed here, a number",
    "stop_strings": "it is stop here",
    "logprobs": "a text is returned; StepScheduler.submit_question has them",
}
"""Names of other libraries, and what answering has for them."""


MOST_LOGPROBS = 20
"""Alternatives of a token that may be asked for; OpenAI's limit."""


@dataclass(frozen=True, kw_only=True)
class TokenLogprobs:
    """A token, its natural logarithm of probability, and those of the likeliest in its place."""

    token_id: int
    text: str
    """Of this token alone: a part of a character is U+FFFD."""
    logprob: float
    """Of the model's own distribution, whatever temperature and top_p made of it."""
    top: tuple["TokenLogprobs", ...] = ()
    """The likeliest first; without alternatives of their own."""


@dataclass(frozen=True, kw_only=True)
class AnsweringSettings:
    """How tokens are chosen, and where an answer ends."""

    max_new_tokens: int = 512
    """An answer is cut here, and where it would not fit in the model's context any more."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, tokens are drawn, the higher the more varied."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that make up this much probability; 1 is all of them."""
    stop: tuple[str, ...] = ()
    """An answer ends before the first of these texts."""
    logprobs: int | None = None
    """Alternatives that are told of every token, 0 to 20; None tells of no probabilities."""

    def __post_init__(self) -> None:
        stops_of(self.stop)
        if self.logprobs is not None and not 0 <= self.logprobs <= MOST_LOGPROBS:
            raise ConfigError(f"logprobs={self.logprobs}: wanted None, or 0 to {MOST_LOGPROBS}.")
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


def stops_of(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """One text that ends an answer, several or none, as a tuple.

    Raises:
        ConfigError: one is empty or no text.
    """
    stops = (given,) if isinstance(given, str) else given or ()
    if not isinstance(stops, Sequence) or not all(isinstance(each, str) and each for each in stops):
        raise ConfigError(f"stop={given!r:.80}: wanted a text that is not empty, or several.")
    return tuple(stops)


def settings_of(given: Mapping[str, Any]) -> AnsweringSettings:
    """Settings as a call gives them; other libraries' arguments are refused with the names here.

    Raises:
        ConfigError: an argument is unknown, or a value is out of range.
    """
    names = {each.name for each in fields(AnsweringSettings)} - {"logprobs"}
    known = sorted(names | {"seed"})
    otherwise = "jf.model.generate has all arguments of transformers"
    refuse_unknown("jf.ask", given, known=known, names=NAMES_HERE, otherwise=otherwise)
    return AnsweringSettings(**{**given, "stop": stops_of(given.get("stop"))})


def require_context(length: int, config: JanusFlowConfig, *, more: int = 1) -> int:
    """The room that a conversation leaves in the model's context, in tokens.

    Args:
        length: tokens of the conversation, those of its images included.
        config: `max_position_embeddings` of its LLM is the context; None is unlimited.
        more: tokens that are to follow.

    Raises:
        PromptError: conversation and following tokens are longer than the context.
    """
    context = getattr(config.llm_config, "max_position_embeddings", None) or maxsize
    if length + more > context:
        raise PromptError(
            f"the conversation has {length} tokens, those of its images included, and the model "
            f"reads {context} with its answer: shorten it or show fewer images."
        )
    return context - length


@torch.no_grad()
def read_tokens(
    model: JanusFlowForConditionalGeneration,
    inputs: Mapping[str, Tensor],
    cache: PrefixCache | None = None,
) -> tuple[Float[Tensor, "b v"], PrefixCache]:
    """Read whole conversations, or with a cache each row's next token, on the model's device.

    Args:
        model: reads.
        inputs: `input_ids`; at the beginning also `attention_mask` and perhaps `pixel_values`.
        cache: what was read before; it is grown in place. None at the beginning.

    Returns:
        The logits of what comes next in every row, and the cache to go on from.
    """
    token_ids, pixels = inputs["input_ids"].to(model.device), inputs.get("pixel_values")
    if cache is None:
        mask, positions = inputs["attention_mask"].to(model.device), None
        grown = PrefixCache(
            cache=GrowingCache(model.config.llm_config),
            attention_mask=mask,
            next_position=mask.sum(-1),
            is_padded=not bool(inputs["attention_mask"].all()),
        )
    else:
        mask, positions = cache.attention_mask, cache.next_position[:, None]
        mask = torch.cat([mask, mask.new_ones(token_ids.shape)], dim=1)
        grown = replace(cache, attention_mask=mask, next_position=cache.next_position + 1)
    # An answer grows with every token, so a compiled model would be compiled over and over.
    with torch.compiler.set_stance("force_eager"):
        output = model(
            token_ids,
            # None where it says nothing: to find that out, the device would be waited for.
            attention_mask=mask if grown.is_padded else None,
            position_ids=positions,
            cache=grown.cache,
            pixel_values=None if pixels is None else pixels.to(model.device),
            use_cache=True,
            logits_to_keep=1,
        )
    return output.logits[:, -1], grown


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
    temperatures = torch.tensor([each.temperature for each in settings])
    if not temperatures.any():
        return likeliest.tolist()
    temperatures = temperatures.where(temperatures > 0, 1.0)[:, None].to(logits.device)
    # float32: bfloat16 probabilities of a large vocabulary do not sum to 1.
    probabilities = (logits.float() / temperatures).softmax(-1)
    top_p = torch.tensor([each.top_p for each in settings])
    if top_p.min() < 1.0:
        probabilities = nucleus(probabilities, top_p=top_p[:, None].to(logits.device))
    # One transfer for both: float32 holds every token id.
    rows = torch.cat([likeliest[:, None], probabilities], dim=1).cpu()
    return [
        int(torch.multinomial(row[1:], 1, generator=generator))
        if each.temperature and row[0] != NOT_FINITE
        else int(row[0])
        for row, each, generator in zip(rows, settings, generators, strict=True)
    ]


def logprobs_of(
    logits: Float[Tensor, " v"], token_id: int, number: int, tokenizer: PreTrainedTokenizerFast
) -> TokenLogprobs:
    """A token's natural logarithm of probability, and the likeliest ones in its place.

    Args:
        logits: of the token's place.
        token_id: the token that was chosen.
        number: of alternatives, which may hold the token itself.
        tokenizer: gives the tokens' texts.
    """
    # float32: bfloat16 probabilities of a large vocabulary do not sum to 1.
    chances = logits.float().log_softmax(-1)
    found = chances.topk(min(number, len(chances)))
    likeliest = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    own, *top = (
        TokenLogprobs(token_id=token, text=str(tokenizer.decode([token])), logprob=logprob)
        for token, logprob in [(token_id, float(chances[token_id])), *likeliest]
    )
    return replace(own, top=tuple(top))


def nucleus(
    probabilities: Float[Tensor, "b v"], *, top_p: Float[Tensor, "b 1"]
) -> Float[Tensor, "b v"]:
    """Set to 0 all but the likeliest tokens that together reach `top_p`; at least one stays."""
    ordered, order = probabilities.sort(descending=True, dim=-1)
    before = ordered.cumsum(-1) - ordered
    # Sums may round above 1, and 1 means all tokens.
    kept = ordered.where((before < top_p) | (top_p >= 1.0), 0.0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)
