"""Attention of training rows on a CPU: SDPA within every sample alone.

The same as over whole rows with a mask, for less: scores of four samples of 100 positions in a row
of 400 are four times 100 by 100. Training asks for it by name (`sdpa_packed`); without packed
samples it is transformers' SDPA.
"""

from dataclasses import dataclass
from typing import Any, no_type_check

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SDPA_PACKED = "sdpa_packed"
"""The implementation's name among transformers'."""


def use_packed_attention(llm: PreTrainedModel) -> None:
    """Let an LLM that uses SDPA attend within packed samples on a CPU; others are left alone."""
    if llm.config._attn_implementation == "sdpa":
        llm.set_attn_implementation(SDPA_PACKED)


@dataclass(frozen=True, kw_only=True)
class PackedSamples:
    """Where the samples of training rows are, and the mask of each."""

    positions: Int[Tensor, " n"]
    """Of all samples, one sample after another, in the flattened rows [b t]."""
    lengths: tuple[int, ...]
    """Of each sample."""
    masks: tuple[Bool[Tensor, "1 1 _ _"], ...]
    """True where a position of the sample attends to another."""


@no_type_check  # the checks of tests break where torch.compile traces them
def sdpa_packed(
    module: nn.Module,
    query: Float[Tensor, "b h t w"],
    key: Float[Tensor, "b g s w"],
    value: Float[Tensor, "b g s w"],
    attention_mask: Tensor | None,
    *,
    packed: PackedSamples | None = None,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Float[Tensor, "b t h w"], None]:
    """Attend within packed samples if there are any, else as transformers' `sdpa`."""
    if packed is not None:
        return packed_attention(query, key, value, packed, scaling=scaling), None
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, **settings
    )


@torch.compiler.disable  # or it would be compiled again for every batch
def packed_attention(
    query: Float[Tensor, "b h t w"],
    key: Float[Tensor, "b g t w"],
    value: Float[Tensor, "b g t w"],
    packed: PackedSamples,
    *,
    scaling: float | None,
) -> Float[Tensor, "b t h w"]:
    """Attend within every sample alone, in float32; positions of no sample give zeros."""

    def split(heads: Float[Tensor, "b _ t w"]) -> list[Float[Tensor, "1 _ l w"]]:
        tokens = rearrange(heads.float(), "b h t w -> (b t) h w")[packed.positions]
        return [rearrange(own, "l h w -> 1 h l w") for own in tokens.split(list(packed.lengths))]

    is_grouped = query.shape[1] != key.shape[1]
    parts = zip(split(query), split(key), split(value), packed.masks, strict=True)
    with torch.autocast("cpu", enabled=False):  # bfloat16 is the slower one here
        attended = [
            functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, scale=scaling, enable_gqa=is_grouped
            )
            for q, k, v, mask in parts
        ]
    tokens = torch.cat([rearrange(own, "1 h l w -> l h w") for own in attended]).to(query.dtype)
    rows = tokens.new_zeros(query.shape[0] * query.shape[2], *tokens.shape[1:])
    rows = rows.index_copy(0, packed.positions, tokens)
    return rearrange(rows, "(b t) h w -> b t h w", b=query.shape[0])


AttentionInterface.register(SDPA_PACKED, sdpa_packed)
AttentionMaskInterface.register(SDPA_PACKED, sdpa_mask)
