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
    if config.image_attention != "bidirectional":
        return None
    is_start = token_ids == config.image_start_token_id
    is_image = is_start | (token_ids == config.image_token_id)
    if is_generation is not None:
        is_image = is_image | is_generation
    is_after_image = pad(is_image, (1, 0))[:, :-1]
    numbers = (is_image & (is_start | ~is_after_image)).cumsum(1) - 1
    return numbers.masked_fill(~is_image, NO_IMAGE)


def attention_rule(
    is_real: Bool[Tensor, "b t"] | None,
    images: Int[Tensor, "b t"] | None,
    rule: MaskFunction | None,
    *,
    window: int | None,
) -> MaskFunction:
    """Itself, and of the real positions the earlier ones and all of one's own image.

    Args:
        is_real: False on padding; None: nothing is padded.
        images: numbers of `number_images`; None is causal.
        rule: allows fewer (training rows).
        window: allows only so many before the query (sliding windows).
    """

    def attends(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_open = key <= query
        if images is not None:
            image = images[row, query]
            is_open = is_open | ((image == images[row, key]) & (image != NO_IMAGE))
        if rule is not None:
            is_open = is_open & rule(row, head, query, key)
        if is_real is not None:
            is_open = is_open & is_real[row, key]
        if window is not None:
            is_open = is_open & (key > query - window)
        return is_open | (key == query)

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
        attention_mask: 0 on padding; of the cached and the new positions. None: there is none.
        cache: holds the positions before them.
        images: numbers of cached and new positions, -1 outside images; missing ones at the end are
            -1. None is causal.
        rule: of those, positions attend to these only (training rows).

    Returns:
        One mask, or one for each kind of layer (sliding windows); None is causal.

    Raises:
        ConfigError: the implementation has no such mask.
    """
    is_causal = images is None and rule is None
    windows = _windows(config, embeds.device, is_causal=is_causal)
    if windows is None:
        return attention_mask
    interface = ALL_MASK_ATTENTION_FUNCTIONS[config._attn_implementation]
    num_queries, start, first, masks = embeds.shape[1], 0, 0, {}
    length = num_queries if attention_mask is None else attention_mask.shape[1]
    for kind, (layer, window) in windows.items():
        if cache is not None:  # with a fixed size it has empty positions at the end
            start = cache.get_query_offset(layer)
            length, first = cache.get_mask_sizes(num_queries, layer)
        is_fixed = getattr(cache, "is_compileable", False)  # its end is empty
        may_skip = is_causal and num_queries in (1, length) and not is_fixed
        if may_skip and attention_mask is not None:
            # Read where a conversation begins, not at every token: the device is waited for.
            is_readable = not is_tracing(attention_mask) and not attention_mask.is_meta
            may_skip = num_queries == length and is_readable and bool(attention_mask.all())
        is_real = None if attention_mask is None else pad(attention_mask > 0, (0, first + length))
        numbers = None if images is None else pad(images, (0, first + length), value=NO_IMAGE)
        masks[kind] = interface(
            batch_size=embeds.shape[0],
            q_length=num_queries,
            kv_length=length,
            q_offset=start,
            kv_offset=first,
            mask_function=attention_rule(is_real, numbers, rule, window=window),
            attention_mask=None,
            allow_is_causal_skip=may_skip,
            local_size=window,
            dtype=embeds.dtype,
            config=config,
            device=embeds.device,
        )
    return masks.get(None, masks)


def _windows(
    config: PreTrainedConfig, device: torch.device, *, is_causal: bool
) -> dict[str | None, tuple[int, int | None]] | None:
    """First layer and sliding window of every kind of layer.

    The kind is None where all layers are alike, as transformers' models have it. None instead of
    all: the attention makes its own causal mask of what is padded.

    Raises:
        ConfigError: the attention implementation has no mask for this.
    """
    implementation = config._attn_implementation
    if implementation == "flex_attention" and device.type == "cpu":
        raise ConfigError(
            f"attn_implementation={implementation} on a {device.type}: there PyTorch cannot "
            "compile it for positions behind a cached prompt. Use sdpa or eager."
        )
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    is_known = not set(kinds or ()) - {"full_attention", "sliding_attention"}
    if kinds is None:
        is_known = not hasattr(config, "attention_chunk_size")
    interface = ALL_MASK_ATTENTION_FUNCTIONS.get(implementation)
    if interface is None or interface is flash_attention_mask or not is_known:
        if is_causal:
            return None
        raise ConfigError(
            f"attn_implementation={implementation} cannot mask images that attend in both "
            f"directions or packed rows of a {config.model_type}: use sdpa or eager."
        )
    if kinds is None:
        return {None: (0, window)}
    return {
        kind: (kinds.index(kind), window if kind == "sliding_attention" else None)
        for kind in sorted(set(kinds))
    }
