"""Who sees whom in the LLM: earlier positions, and if a model says so all of one's own picture.

A row's pictures are numbered from 1, with 0 where there is none, so that two in a row stay apart.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from janusflow.model.configuration import JanusFlowConfig


def pictures_of(
    token_ids: Int[Tensor, "b t"],
    config: JanusFlowConfig,
    is_drawing: Bool[Tensor, "b t"] | None = None,
) -> Int[Tensor, "b t"] | None:
    """Number the pictures in rows, seen and drawn, where they see ahead; None where all is causal.

    A start tag begins a picture even right after another one.
    """
    if not config.images_see_ahead:
        return None
    is_start = token_ids == config.image_start_token_id
    is_picture = is_start | (token_ids == config.image_token_id)
    if is_drawing is not None:
        is_picture = is_picture | is_drawing
    is_after = torch.nn.functional.pad(is_picture, (1, 0))[:, :-1]
    return (is_picture & (is_start | ~is_after)).cumsum(1) * is_picture


def is_own_picture(pictures: Int[Tensor, "b t"], *, num_queries: int) -> Bool[Tensor, "b q t"]:
    """Whether each of a row's last positions stands in the same picture as another position."""
    own = pictures[:, -num_queries:, None]
    return (own == pictures[:, None]) & (own > 0)


def llm_mask(
    attention_mask: Int[Tensor, "b t"],
    pictures: Int[Tensor, "b t"] | None,
    embeds: Float[Tensor, "b q d"],
) -> Int[Tensor, "b t"] | Float[Tensor, "b 1 q t"]:
    """What the LLM is handed to read `embeds`, a row's last positions.

    Args:
        attention_mask: 0 on padding, which nobody sees.
        pictures: numbered, where a picture's positions see all of it. None is causal: the mask
            stays as it is, and the LLM's own code does the rest.
        embeds: positions before them are in a cache.
    """
    if pictures is None:
        return attention_mask
    num_queries, length = embeds.shape[1], pictures.shape[1]
    is_earlier = torch.ones(num_queries, length, dtype=torch.bool, device=pictures.device)
    is_earlier = is_earlier.tril(length - num_queries)
    is_seen = is_earlier | is_own_picture(pictures, num_queries=num_queries)
    return additive(is_seen & (attention_mask > 0)[:, None], embeds.dtype)


def additive(is_seen: Bool[Tensor, "b q t"], dtype: torch.dtype) -> Float[Tensor, "b 1 q t"]:
    """What is added to attention scores: 0 where a position sees another, else the lowest."""
    mask = torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device)
    return mask.masked_fill(~is_seen, torch.finfo(dtype).min)[:, None]
