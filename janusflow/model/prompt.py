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

    @classmethod
    def of(cls, input_ids: Int[Tensor, "b t"], attention_mask: Int[Tensor, "b t"]) -> "Prompt":
        """Take left-padded tokens as processing gives them; positions are counted here."""
        positions = count_positions(attention_mask)
        return cls(token_ids=input_ids, attention_mask=attention_mask, position_ids=positions)

    @property
    def length(self) -> int:
        """Tokens per row, padding included."""
        return self.token_ids.shape[1]

    @property
    def next_position(self) -> Int[Tensor, " b"]:
        """Position of what follows the prompt."""
        return self.position_ids[:, -1] + 1

    def to(self, device: torch.device | str) -> "Prompt":
        """The same on another device."""
        return Prompt(
            token_ids=self.token_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            position_ids=self.position_ids.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class PrefixCache:
    """Keys and values of prompts read once, reused at every step of the ODE.

    `velocity` reads it and leaves it as it is.
    """

    cache: DynamicCache
    attention_mask: Int[Tensor, "b t"]
    next_position: Int[Tensor, " b"]

    @property
    def length(self) -> int:
        """Tokens per row, padding included."""
        return self.attention_mask.shape[1]

    def reading(self) -> DynamicCache:
        """The cache for one pass of more tokens, after which it is as it was."""
        cache = copy.copy(self.cache)
        cache.layers = [
            ReadOnlyLayer(layer)
            if isinstance(layer, DynamicLayer) and not layer.is_sliding
            else copy.copy(layer)
            for layer in self.cache.layers
        ]
        return cache

    def select(self, rows: list[int]) -> "PrefixCache":
        """Give a copy of these rows, repeats allowed."""
        index = torch.tensor(rows, device=self.attention_mask.device)
        # Selecting makes new tensors; only what holds them is to be copied before.
        cache = copy.copy(self.cache)
        cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        cache.batch_select_indices(index)
        return PrefixCache(
            cache=cache,
            attention_mask=self.attention_mask[index],
            next_position=self.next_position[index],
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


def stack(prompts: list[Prompt], *, pad_token_id: int) -> Prompt:
    """Concatenate prompt batches along the batch axis, padding on the left to one length."""
    length = max(prompt.length for prompt in prompts)

    def joined(name: str, fill: int) -> Int[Tensor, "b t"]:
        return torch.cat(
            [
                torch.nn.functional.pad(getattr(p, name), (length - p.length, 0), value=fill)
                for p in prompts
            ]
        )

    return Prompt(
        token_ids=joined("token_ids", pad_token_id),
        attention_mask=joined("attention_mask", 0),
        position_ids=joined("position_ids", 0),
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
    return PrefixCache(
        cache=cache,
        attention_mask=joined([cache.attention_mask[..., None] for cache in caches])[..., 0],
        next_position=torch.cat([cache.next_position for cache in caches]),
    )


def _needed_columns(cache: PrefixCache) -> int:
    """All but those at the beginning that are padding in every row."""
    return cache.length - int(cache.attention_mask.any(0).int().argmax())
