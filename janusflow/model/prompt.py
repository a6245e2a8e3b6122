"""What the LLM reads before an image: a prompt's tokens, or the cache of reading them once.

Such a cache serves conversations too, before their next token.
"""

import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from janusflow.config.errors import ConfigError
from janusflow.model.cache import GrowingLayer, ReadOnlyLayer


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Left-padded prompts WITHOUT their begin-of-image token: the time token takes that place.

    Position ids are counted from each row's first real token, so padding moves nothing.
    """

    token_ids: Int[Tensor, "b t"]
    attention_mask: Int[Tensor, "b t"]
    position_ids: Int[Tensor, "b t"]


@dataclass(frozen=True, kw_only=True)
class PrefixCache:
    """Keys and values of prompts read once, reused at every step of the ODE.

    `velocity` reads it and leaves it as it is.
    """

    cache: DynamicCache
    attention_mask: Int[Tensor, "b t"]
    next_position: Int[Tensor, " b"]
    is_padded: bool = True
    """False where it is known, without asking the device, that the mask holds no 0."""

    @property
    def num_bytes(self) -> int:
        """Of the keys and values, and of the mask."""
        layers = [(layer, name) for layer in self.cache.layers for name in ("keys", "values")]
        return self.attention_mask.nbytes + sum(getattr(*each).nbytes for each in layers)

    def reading(self) -> DynamicCache:
        """The cache for one pass of more tokens, after which it is as it was."""
        cache = copy.copy(self.cache)
        cache.layers = list(map(copy.copy, self.cache.layers))
        for index, layer in enumerate(cache.layers):
            if isinstance(layer, DynamicLayer) and not layer.is_sliding:
                cache.layers[index] = ReadOnlyLayer(layer)
        return cache

    def select(self, rows: list[int]) -> "PrefixCache":
        """Give a copy of these rows, repeats allowed."""
        index = torch.tensor(rows, device=self.attention_mask.device)
        # Selecting makes new tensors; only what holds them is to be copied before.
        cache = copy.copy(self.cache)
        cache.layers = list(map(copy.copy, self.cache.layers))
        cache.batch_select_indices(index)
        return PrefixCache(
            cache=cache,
            attention_mask=self.attention_mask[index],
            next_position=self.next_position[index],
            is_padded=self.is_padded,
        )


def count_positions(attention_mask: Int[Tensor, "b t"]) -> Int[Tensor, "b t"]:
    """Positions counted from every row's first real token; 0 on padding before it."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def unconditional(prompt: Prompt) -> Prompt:
    """The same rows with only their first token (BOS) visible and all positions kept.

    This is the release's unconditional branch: masked tokens still count as positions.
    """
    is_first = (prompt.position_ids == 0) & (prompt.attention_mask == 1)
    return replace(prompt, attention_mask=is_first.to(prompt.attention_mask.dtype))


def with_unconditional(prompt: Prompt) -> Prompt:
    """All rows, then for each what its unconditional branch reads."""
    free = unconditional(prompt)
    return Prompt(
        token_ids=torch.cat([prompt.token_ids, free.token_ids]),
        attention_mask=torch.cat([prompt.attention_mask, free.attention_mask]),
        position_ids=torch.cat([prompt.position_ids, free.position_ids]),
    )


def join(caches: list[PrefixCache]) -> PrefixCache:
    """Copy the rows of several caches into one, padded on the left to the longest that is needed.

    Raises:
        ConfigError: the LLM forgets (sliding windows): its caches cannot be padded.
    """
    length = max(_needed_columns(cache) for cache in caches)

    def joined(parts: list[Tensor]) -> Tensor:
        """Columns are the last axis but one; where there are too many, padding is negative."""
        return torch.cat(
            [torch.nn.functional.pad(part, (0, 0, length - part.shape[-2], 0)) for part in parts]
        )

    cache = copy.copy(caches[0].cache)
    cache.layers = []
    for index, layers in enumerate(zip(*(cache.cache.layers for cache in caches), strict=True)):
        if any(layer.is_sliding for layer in layers):
            raise ConfigError(
                f"layer {index} of the LLM keeps a sliding window of positions: rows of different "
                "length cannot share its cache. Read them one by one."
            )
        keys, values = ([getattr(each, name) for each in layers] for name in ("keys", "values"))
        layer = GrowingLayer()
        layer.update(joined(keys), joined(values))
        cache.layers.append(layer)
    lengths = {each.attention_mask.shape[1] for each in caches}
    return PrefixCache(
        cache=cache,
        is_padded=len(lengths) > 1 or any(each.is_padded for each in caches),
        attention_mask=joined([cache.attention_mask[..., None] for cache in caches])[..., 0],
        next_position=torch.cat([cache.next_position for cache in caches]),
    )


def _needed_columns(cache: PrefixCache) -> int:
    """All but those at the beginning that are padding in every row."""
    return cache.attention_mask.shape[1] - int(cache.attention_mask.any(0).int().argmax())
