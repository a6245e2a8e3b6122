"""Texts to what a sampler's queries are answered with: read once, then continued at every step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from janusflow.config.errors import PromptError
from janusflow.flow import VelocityQuery
from janusflow.flow.sampler import BRANCHES_PER_PROMPT
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, Prompt, stack, unconditional
from janusflow.processing.processor import JanusFlowProcessor


@dataclass(frozen=True, kw_only=True)
class PromptEncoding:
    """All texts of a call, read once."""

    texts: list[str]
    cache: PrefixCache
    """Rows of the texts, then those that their unconditional branches read."""
    unconditional_rows: list[int]
    """For every text the row its unconditional branch reads; empty without guidance."""

    def select(
        self, images: Sequence[Sequence[str]], branches: Sequence[int] = (0,)
    ) -> PrefixCache:
        """The prefixes of a query: all images under the first branch, then under the next.

        Args:
            images: for every image its prompt, or its two prompts (flow/interpolation.py).
            branches: of a VelocityQuery.
        """
        rows = []
        for branch in branches:
            number, is_unconditional = divmod(branch, BRANCHES_PER_PROMPT)
            row_of = self.unconditional_rows if is_unconditional else range(len(self.texts))
            rows += [row_of[self.texts.index(texts[number])] for texts in images]
        return self.cache.select(rows)


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
    rows, counterparts = [prompt_of(model, processor, texts)], list[int]()
    if is_guided and negative_prompt is not None:
        rows.append(prompt_of(model, processor, [negative_prompt]))
        counterparts = [len(texts)] * len(texts)
    elif is_guided:
        # One row each: masked tokens count as positions, so it depends on the prompt's length.
        rows.append(unconditional(rows[0]))
        counterparts = list(range(len(texts), 2 * len(texts)))
    stacked = stack(rows, pad_token_id=model.config.pad_token_id or 0)
    return PromptEncoding(
        texts=texts, cache=encode(model, stacked), unconditional_rows=counterparts
    )


@torch.no_grad()
def encode(model: JanusFlowForConditionalGeneration, prompt: Prompt) -> PrefixCache:
    """Read prompts on the model's device."""
    return model.encode_prompt(prompt.to(model.device))


def prompt_of(
    model: JanusFlowForConditionalGeneration, processor: JanusFlowProcessor, texts: Sequence[str]
) -> Prompt:
    """The texts as the model reads them, checked to leave room for an image.

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
    return Prompt.of(batch["input_ids"], batch["attention_mask"])


class PromptVelocity:
    """Answers the queries of one batch: the model's velocity under each image's prompts.

    Prefixes are selected again only where a query wants others than the two queries before it.
    """

    def __init__(
        self,
        model: JanusFlowForConditionalGeneration,
        prompts: PromptEncoding,
        images: Sequence[Sequence[str]],
    ) -> None:
        self.model = model
        self.prompts = prompts
        self.images = images
        self._selected: dict[tuple[tuple[int, ...], tuple[int, ...] | None], PrefixCache] = {}

    def __call__(self, query: VelocityQuery) -> Tensor:
        """One velocity a branch and state."""
        x_t = torch.cat([query.x_t] * len(query.branches))
        t = torch.full((len(x_t),), query.t, device=x_t.device, dtype=torch.float32)
        return self.model.velocity(x_t, t, self.prefix(query))

    def prefix(self, query: VelocityQuery) -> PrefixCache:
        """What the query's rows continue, the same object for the same rows."""
        key = query.branches, query.rows
        if key not in self._selected:
            if len(self._selected) == 2:
                self._selected.clear()
            rows = range(len(self.images)) if query.rows is None else query.rows
            images = [self.images[row] for row in rows]
            self._selected[key] = self.prompts.select(images, query.branches)
        return self._selected[key]
