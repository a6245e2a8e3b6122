"""Who sees whom in the LLM: earlier positions, and if a model says so all of one's own image.

A row's images are numbered from 1, with 0 where there is none, so that two in a row stay apart.
"""

from dataclasses import dataclass
from typing import Any, no_type_check

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from janusflow.model.configuration import JanusFlowConfig

SDPA_PACKED = "sdpa_packed"
"""Name of `attend` among transformers' attention functions."""


def number_images(
    token_ids: Int[Tensor, "b t"],
    config: JanusFlowConfig,
    is_drawing: Bool[Tensor, "b t"] | None = None,
) -> Int[Tensor, "b t"] | None:
    """Number the images in rows, seen and drawn, where they see ahead; None where all is causal.

    A start tag begins an image even right after another one.
    """
    if not config.bidirectional_image_attention:
        return None
    is_start = token_ids == config.image_start_token_id
    is_image = is_start | (token_ids == config.image_token_id)
    if is_drawing is not None:
        is_image = is_image | is_drawing
    is_after = torch.nn.functional.pad(is_image, (1, 0))[:, :-1]
    return (is_image & (is_start | ~is_after)).cumsum(1) * is_image


def is_same_image(images: Int[Tensor, "b t"], *, num_queries: int) -> Bool[Tensor, "b q t"]:
    """Whether each of a row's last positions stands in the same image as another position."""
    own = images[:, -num_queries:, None]
    return (own == images[:, None]) & (own > 0)


def llm_mask(
    attention_mask: Int[Tensor, "b t"],
    images: Int[Tensor, "b t"] | None,
    embeds: Float[Tensor, "b q d"],
) -> Int[Tensor, "b t"] | Float[Tensor, "b 1 q t"]:
    """What the LLM is handed to read `embeds`, a row's last positions.

    Args:
        attention_mask: 0 on padding, which nobody sees.
        images: numbered, where an image's positions see all of it. None is causal: the mask
            stays as it is, and the LLM's own code does the rest.
        embeds: positions before them are in a cache.
    """
    if images is None:
        return attention_mask
    num_queries, length = embeds.shape[1], images.shape[1]
    is_earlier = torch.ones(num_queries, length, dtype=torch.bool, device=images.device)
    is_earlier = is_earlier.tril(length - num_queries)
    is_seen = is_earlier | is_same_image(images, num_queries=num_queries)
    return additive(is_seen & (attention_mask > 0)[:, None], embeds.dtype)


def additive(is_seen: Bool[Tensor, "b q t"], dtype: torch.dtype) -> Float[Tensor, "b 1 q t"]:
    """What is added to attention scores: 0 where a position sees another, else the lowest."""
    mask = torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device)
    return mask.masked_fill(~is_seen, torch.finfo(dtype).min)[:, None]


@dataclass(frozen=True, kw_only=True)
class PackedSamples:
    """The samples of training rows, apart: what packing puts end to end, attention need not mix."""

    positions: Int[Tensor, " n"]
    """Of all samples, one after another, in the flattened rows [b t]."""
    lengths: tuple[int, ...]
    masks: tuple[Float[Tensor, "1 1 _ _"], ...]
    """What is added to a sample's own scores."""


@no_type_check  # the checks of tests break where torch.compile traces them
def attend(
    module: nn.Module,
    query: Float[Tensor, "b h t w"],
    key: Float[Tensor, "b g s w"],
    value: Float[Tensor, "b g s w"],
    attention_mask: Tensor | None,
    *,
    apart: PackedSamples | None = None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Float[Tensor, "b t h w"], None]:
    """Attend within every sample alone where the rows are `apart`, else as transformers' `sdpa`."""
    if apart is not None:
        return packed_attention(query, key, value, apart, scaling=scaling), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **settings
    )


@torch.compiler.disable  # or it would be compiled again for every batch
def packed_attention(
    query: Float[Tensor, "b h t w"],
    key: Float[Tensor, "b g t w"],
    value: Float[Tensor, "b g t w"],
    apart: PackedSamples,
    *,
    scaling: float | None,
) -> Float[Tensor, "b t h w"]:
    """Attend within every sample alone, in float32; positions of no sample give zeros.

    The same as over whole rows with a mask, for less: scores of four samples of 100 positions in a
    row of 400 are four times 100 by 100.
    """

    def split(heads: Float[Tensor, "b _ t w"]) -> list[Float[Tensor, "1 _ l w"]]:
        tokens = rearrange(heads.float(), "b h t w -> (b t) h w")[apart.positions]
        return [rearrange(own, "l h w -> 1 h l w") for own in tokens.split(list(apart.lengths))]

    is_grouped = query.shape[1] != key.shape[1]
    parts = zip(split(query), split(key), split(value), apart.masks, strict=True)
    with torch.autocast("cpu", enabled=False):  # bfloat16 is the slower one here
        attended = [
            functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask.float(), scale=scaling, enable_gqa=is_grouped
            )
            for q, k, v, mask in parts
        ]
    tokens = torch.cat([rearrange(own, "1 h l w -> l h w") for own in attended]).to(query.dtype)
    rows = tokens.new_zeros(query.shape[0] * query.shape[2], *tokens.shape[1:])
    rows = rows.index_copy(0, apart.positions, tokens)
    return rearrange(rows, "(b t) h w -> b t h w", b=query.shape[0])


AttentionInterface.register(SDPA_PACKED, attend)
AttentionMaskInterface.register(SDPA_PACKED, sdpa_mask)
