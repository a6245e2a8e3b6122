"""Texts to what a sampler's queries are answered with: read once, then continued at every step."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from janusflow.config.errors import PromptError
from janusflow.flow import VelocityQuery
from janusflow.flow.sampler import BRANCHES_PER_PROMPT
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, Prompt, count_positions, with_unconditional
from janusflow.processing.processor import JanusFlowProcessor


@dataclass(frozen=True, kw_only=True)
class PromptEncoding:
    """All texts of a call, read once."""

    texts: list[str]
    cache: PrefixCache
    """Rows of the texts, then those that their unconditional branches read."""
    unconditional_rows: list[int]
    """For every text the row its unconditional branch reads; empty without guidance."""


def encode_texts(
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    texts: Sequence[str],
    *,
    is_guided: bool,
    negative_prompt: str | None = None,
) -> PromptEncoding:
    """Read each text once, and with guidance what the unconditional branch reads.

    Args:
        model: reads, on its own device.
        processor: puts the texts into the template.
        texts: prompts or plans; repeats are read once.
        is_guided: whether there is an unconditional branch.
        negative_prompt: what it reads, instead of nothing.

    Raises:
        PromptError: a text is longer than the model's context.
    """
    texts = list(dict.fromkeys(texts))
    number, rows = len(texts), list[int]()
    if not is_guided:
        prompt = prompt_of(model, processor, texts)
    elif negative_prompt is not None:
        prompt = prompt_of(model, processor, [*texts, negative_prompt])
        rows = [number] * number
    else:
        # One row each: masked tokens count as positions, so it depends on the prompt's length.
        prompt = with_unconditional(prompt_of(model, processor, texts))
        rows = list(range(number, 2 * number))
    return PromptEncoding(texts=texts, cache=model.encode_prompt(prompt), unconditional_rows=rows)


def prompt_of(
    model: JanusFlowForConditionalGeneration, processor: JanusFlowProcessor, texts: Sequence[str]
) -> Prompt:
    """The texts as the model reads them, on its device, checked to leave room for an image.

    Raises:
        PromptError: a text is no prompt, or with the image's tokens longer than the context.
    """
    batch = processor.prompts(texts)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    image_tokens = 1 + model.config.generation.num_tokens
    context = model.config.llm_config.max_position_embeddings
    for text, length in zip(texts, lengths, strict=True):
        if length + image_tokens > context:
            raise PromptError(
                f"the prompt {text[:40]!r}... takes {length} tokens and the image {image_tokens}, "
                f"together {length + image_tokens}, but the model's context is {context}: shorten "
                "the prompt."
            )
    mask = batch["attention_mask"].to(model.device)
    return Prompt(
        token_ids=batch["input_ids"].to(model.device),
        attention_mask=mask,
        position_ids=count_positions(mask),
    )


@dataclass(eq=False, repr=False)
class PromptVelocity:
    """Answers the queries of one batch: the model's velocity under each image's prompts.

    Prefixes are selected again only where a query wants others than the two queries before it.
    """

    model: JanusFlowForConditionalGeneration
    prompts: PromptEncoding
    images: Sequence[Sequence[str]]
    """The prompt of every image, or its two (flow/interpolation.py)."""
    _selected: dict[tuple[tuple[int, ...], tuple[int, ...] | None], PrefixCache] = field(
        default_factory=dict, init=False
    )

    def __call__(self, query: VelocityQuery) -> Tensor:
        """One velocity a branch and state."""
        x_t = torch.cat([query.x_t] * len(query.branches))
        t = torch.full((len(x_t),), query.t, device=x_t.device, dtype=torch.float32)
        return self.model.velocity(x_t, t, self.prefix(query))

    def prefix(self, query: VelocityQuery) -> PrefixCache:
        """What the query's rows continue: all images under the first branch, then under the next.

        The same object for the same rows.
        """
        key = query.branches, query.rows
        if key not in self._selected:
            if len(self._selected) == 2:
                self._selected.clear()
            prompts, rows = self.prompts, list[int]()
            for branch in query.branches:
                number, is_unconditional = divmod(branch, BRANCHES_PER_PROMPT)
                for image in range(len(self.images)) if query.rows is None else query.rows:
                    row = prompts.texts.index(self.images[image][number])
                    rows.append(prompts.unconditional_rows[row] if is_unconditional else row)
            self._selected[key] = prompts.cache.select(rows)
        return self._selected[key]
