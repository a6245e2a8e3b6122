"""Answer: embedded conversations to tokens, one at a time, and tokens to text as they come.

Knows the model and its key-value cache, neither the tokenizer's files nor images: embeddings
come in, token ids go out. An answer depends on its conversation and its seed only, never on those
answered beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.model.cache import growing_cache
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache

REPLACEMENT = "�"
"""What decoding gives for bytes that are no whole character yet."""


@dataclass(frozen=True, kw_only=True)
class AnsweringSettings:
    """How tokens are chosen."""

    max_new_tokens: int = 512
    """An answer ends here at the latest, whether it is finished or not."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, tokens are drawn, the higher the wilder."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that make up this much probability; 1 is all of them."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens}: at least 1 is needed.")
        if self.temperature < 0:
            raise ConfigError(
                f"temperature={self.temperature} is negative. Use 0 for the likeliest answer, up "
                "to 1 for variety."
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p} is outside (0, 1]. Use 1 for all tokens.")


@torch.no_grad()
def answer_tokens(
    model: JanusFlowForConditionalGeneration,
    embeds: Float[Tensor, "b t d"],
    attention_mask: Int[Tensor, "b t"],
    *,
    settings: AnsweringSettings,
    seeds: Sequence[int],
    images: Int[Tensor, "b t"] | None = None,
) -> Iterator[list[int | None]]:
    """Yield one token for every conversation, None once it has ended, until all have.

    Args:
        model: reads every position once; earlier ones come from its key-value cache.
        embeds: left-padded conversations, images already in place.
        attention_mask: 0 on padding.
        settings: how tokens are chosen.
        seeds: one a conversation; only temperatures above 0 make use of it.
        images: `number_images` the tokens, whose positions see ahead.
    """
    ends = end_ids(model.config.eos_token_id)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    logits, context = read_embeds(model, embeds, attention_mask, images=images)
    has_ended, tokens = [False] * len(embeds), []
    for number in range(settings.max_new_tokens):
        if number:
            logits, context = read_tokens(model, tokens, context)
        tokens = choose_tokens(logits, settings, generators)
        has_ended = [ended or token in ends for ended, token in zip(has_ended, tokens, strict=True)]
        if all(has_ended):
            return
        yield [None if ended else token for ended, token in zip(has_ended, tokens, strict=True)]


@torch.no_grad()
def read_embeds(
    model: JanusFlowForConditionalGeneration,
    embeds: Float[Tensor, "b t d"],
    attention_mask: Int[Tensor, "b t"],
    *,
    images: Int[Tensor, "b t"] | None = None,
) -> tuple[Float[Tensor, "b v"], PrefixCache]:
    """Read conversations: the logits of their next tokens, and the cache to go on from."""
    positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
    context = PrefixCache(
        cache=growing_cache(model.config.llm_config),
        attention_mask=attention_mask,
        next_position=positions[:, -1] + 1,
    )
    return _next_logits(model, embeds, context, positions, images), context


@torch.no_grad()
def read_tokens(
    model: JanusFlowForConditionalGeneration, tokens: list[int], context: PrefixCache
) -> tuple[Float[Tensor, "b v"], PrefixCache]:
    """Read one more token of every conversation; the context's own cache grows by it."""
    token_ids = torch.tensor(tokens, device=context.attention_mask.device)[:, None]
    embeds = model.llm.get_input_embeddings()(token_ids)
    own = context.attention_mask.new_ones(len(tokens), 1)
    grown = PrefixCache(
        cache=context.cache,
        attention_mask=torch.cat([context.attention_mask, own], dim=1),
        next_position=context.next_position + 1,
    )
    # No images: they are read, and answers are causal.
    return _next_logits(model, embeds, grown, context.next_position[:, None], None), grown


def _next_logits(
    model: JanusFlowForConditionalGeneration,
    embeds: Float[Tensor, "b q d"],
    context: PrefixCache,
    positions: Int[Tensor, "b q"],
    images: Int[Tensor, "b t"] | None,
) -> Float[Tensor, "b v"]:
    # An answer grows with every token, so a compiled model would be compiled over and over.
    with torch.compiler.set_stance("force_eager"):
        return model(
            inputs_embeds=embeds,
            attention_mask=context.attention_mask,
            position_ids=positions,
            cache=context.cache,
            use_cache=True,
            logits_to_keep=1,
            block_sequence_ids=images,
        ).logits[:, -1]


def choose_tokens(
    logits: Float[Tensor, "b v"], settings: AnsweringSettings, generators: list[torch.Generator]
) -> list[int]:
    """Choose every row's next token; draws happen on the CPU, so that a seed means the same."""
    if settings.temperature == 0:
        return logits.argmax(-1).tolist()
    # float32: bfloat16 probabilities of a large vocabulary do not sum to 1.
    scaled = logits.float().cpu() / settings.temperature
    probabilities = nucleus(scaled.softmax(-1), top_p=settings.top_p)
    return [
        int(torch.multinomial(row, 1, generator=generator))
        for row, generator in zip(probabilities, generators, strict=True)
    ]


def nucleus(probabilities: Float[Tensor, "b v"], *, top_p: float) -> Float[Tensor, "b v"]:
    """Set to 0 all but the likeliest tokens that together reach `top_p`; at least one stays."""
    if top_p == 1.0:
        return probabilities
    ordered, order = probabilities.sort(descending=True, dim=-1)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, order, ordered.where(before < top_p, 0.0))


def end_ids(eos_token_id: int | list[int] | None) -> set[int]:
    """The ids that end an answer."""
    if eos_token_id is None:
        return set()
    return {eos_token_id} if isinstance(eos_token_id, int) else set(eos_token_id)


class TextPieces:
    """Text out of tokens as they come: whole characters only, and nothing twice.

    A token may hold part of a character (a Korean syllable is three bytes) and its text may depend
    on the token before it, so what is new is the difference between two decodings of a window.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.token_ids: list[int] = []
        self.window_start = 0
        self.emitted_end = 0

    def add(self, token_id: int) -> str:
        """Take one token; give the text that is certain now, which may be nothing."""
        self.token_ids.append(token_id)
        before, now = self._window_texts()
        if len(now) <= len(before) or now.endswith(REPLACEMENT):
            return ""
        self.window_start, self.emitted_end = self.emitted_end, len(self.token_ids)
        return now[len(before) :]

    def finish(self) -> str:
        """Give what was held back, broken characters included."""
        before, now = self._window_texts()
        self.window_start = self.emitted_end = len(self.token_ids)
        return now[len(before) :]

    def _window_texts(self) -> tuple[str, str]:
        window = self.token_ids[self.window_start :]
        num_emitted = self.emitted_end - self.window_start
        return self.decode(window[:num_emitted]), self.decode(window)
