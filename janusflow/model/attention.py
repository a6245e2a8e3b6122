"""Which positions attend to which in the LLM: one rule, given to every attention implementation.

A position attends to itself and to earlier positions, with `image_attention: bidirectional` to all
of its own image too, and in training rows (rows.py) to its own sample only. Padding is attended to
by itself alone: so no row of a mask is empty, for which some GPU kernels give NaN and the CPU's a
wrong gradient. Each implementation of transformers gets its own kind of mask: SDPA booleans, eager
numbers to add, flex attention a BlockMask, flash attention the padding of a causal LLM.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache, PreTrainedConfig
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, flash_attention_mask
from transformers.utils.import_utils import is_tracing

from janusflow.config.errors import ConfigError
from janusflow.model.configuration import JanusFlowConfig

MaskFunction: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Indices of row, head, query and key, which broadcast, to whether the query attends to the key."""
NO_IMAGE = -1
"""Block of positions outside images."""

if torch.__version__.startswith("2.13."):
    # This release's cuDNN attention gives NaN gradients with a mask (pytorch#196678) and wrong
    # outputs for fewer than eight key-value heads (pytorch#193893). Flash, memory-efficient and
    # plain attention take its place.
    torch.backends.cuda.enable_cudnn_sdp(False)


def number_images(
    token_ids: Int[Tensor, "b t"],
    config: JanusFlowConfig,
    is_generation: Bool[Tensor, "b t"] | None = None,
) -> Int[Tensor, "b t"] | None:
    """Number the images of every row from 0, with -1 outside; None for a causal model.

    transformers calls these `block_sequence_ids`. A start tag begins an image even right after
    another one, so neighbours stay apart.

    Args:
        token_ids: with a start tag and placeholders where there are images to understand.
        config: says whether images attend to themselves in both directions.
        is_generation: positions of the time token and the noisy latent of images to generate.
    """
    if not config.bidirectional_image_attention:
        return None
    is_start = token_ids == config.image_start_token_id
    is_image = is_start | (token_ids == config.image_token_id)
    if is_generation is not None:
        is_image = is_image | is_generation
    is_after_image = pad(is_image, (1, 0))[:, :-1]
    numbers = (is_image & (is_start | ~is_after_image)).cumsum(1) - 1
    return numbers.masked_fill(~is_image, NO_IMAGE)


def causal_rule(images: Int[Tensor, "b t"] | None = None) -> MaskFunction:
    """Earlier positions, and all of the query's own image where images are numbered."""

    def attends(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_earlier = key <= query
        if images is None:
            return is_earlier
        image = images[row, query]
        return is_earlier | ((image == images[row, key]) & (image != NO_IMAGE))

    return attends


def with_padding(
    rule: MaskFunction, attention_mask: Int[Tensor, "b t"] | None, *, window: int | None
) -> MaskFunction:
    """The rule for real keys within a sliding window; every position attends to itself."""
    is_real = None if attention_mask is None else attention_mask > 0

    def attends(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_seen = rule(row, head, query, key)
        if is_real is not None:
            is_seen = is_seen & is_real[row, key]
        if window is not None:
            is_seen = is_seen & (key > query - window)
        return is_seen | (key == query)

    return attends


def llm_mask(
    config: PreTrainedConfig,
    embeds: Float[Tensor, "b q _"],
    attention_mask: Int[Tensor, "b t"] | None,
    *,
    cache: Cache | None = None,
    images: Int[Tensor, "b i"] | None = None,
    rule: MaskFunction | None = None,
) -> Any:
    """Make what the LLM takes as `attention_mask`, for its attention implementation.

    Args:
        config: the LLM's.
        embeds: the new positions, at the end of those in the cache; only the shape is read.
        attention_mask: 0 on padding; of the cached and the new positions. None: nothing is padded.
        cache: holds the positions before them.
        images: numbers of cached and new positions, -1 outside images; missing ones at the end are
            -1. None is causal.
        rule: replaces causality (training rows).

    Returns:
        One mask, or one for each kind of layer (sliding windows); None is causal.

    Raises:
        ConfigError: the implementation has no such mask.
    """
    implementation = config._attn_implementation
    is_causal = images is None and rule is None
    windows = _windows(config)
    interface = ALL_MASK_ATTENTION_FUNCTIONS.get(implementation)
    if interface is None or interface is flash_attention_mask or windows is None:
        if is_causal:
            return attention_mask
        raise ConfigError(
            f"attn_implementation={implementation} cannot mask images that attend in both "
            f"directions or packed rows of a {config.model_type}: use sdpa or eager."
        )

    num_queries, masks = embeds.shape[1], {}
    for kind, (layer, window) in windows.items():
        start, length, first = _sizes(num_queries, attention_mask, cache, layer)
        real = _padded(attention_mask, first + length, 0)
        own_rule = rule or causal_rule(_padded(images, first + length, NO_IMAGE))
        may_skip = is_causal and num_queries in (1, length) and _is_unpadded(real, cache)
        masks[kind] = interface(
            batch_size=embeds.shape[0],
            q_length=num_queries,
            kv_length=length,
            q_offset=start,
            kv_offset=first,
            mask_function=with_padding(own_rule, real, window=window),
            attention_mask=None,
            allow_is_causal_skip=may_skip,
            local_size=window,
            dtype=embeds.dtype,
            config=config,
            device=embeds.device,
        )
    return masks.get(None, masks)


def _sizes(
    num_queries: int, attention_mask: Tensor | None, cache: Cache | None, layer: int
) -> tuple[int | Tensor, int, int]:
    """Position of the first query (a tensor for static caches), number of keys, first key."""
    if cache is None:
        return 0, num_queries if attention_mask is None else attention_mask.shape[1], 0
    length, first = cache.get_mask_sizes(num_queries, layer)
    return cache.get_query_offset(layer), length, first


def _windows(config: PreTrainedConfig) -> dict[str | None, tuple[int, int | None]] | None:
    """First layer and sliding window of every kind of layer; None: there are kinds we don't know.

    The kind is None where all layers are alike, as transformers' models have it.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return {None: (0, window)} if not hasattr(config, "attention_chunk_size") else None
    if set(kinds) - {"full_attention", "sliding_attention"}:
        return None
    return {
        kind: (kinds.index(kind), window if kind == "sliding_attention" else None)
        for kind in sorted(set(kinds))
    }


def _padded(values: Int[Tensor, "b t"] | None, length: int, fill: int) -> Int[Tensor, "b s"] | None:
    """Values with columns to the right up to `length`, as a cache of fixed size has them."""
    if values is None:
        return None
    return pad(values, (0, max(length - values.shape[1], 0)), value=fill)


def _is_unpadded(attention_mask: Int[Tensor, "b t"] | None, cache: Cache | None) -> bool:
    """Whether all keys are real, as far as can be known: values are not read while tracing."""
    if getattr(cache, "is_compileable", False):  # its end is empty
        return False
    if attention_mask is None:
        return True
    is_readable = not is_tracing(attention_mask) and not attention_mask.is_meta
    return is_readable and bool(attention_mask.all())
