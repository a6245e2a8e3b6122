"""Run a model that has shapes but no memory (meta device) on a batch whose indices are real.

Which positions are images decides shapes, so masks and token ids must have values; everything
computed from weights needs none. PyTorch's own FakeTensorMode refuses such indices.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
ATTENTION = functional.scaled_dot_product_attention

INDEXING = (aten.index.Tensor, aten.index_put.default, aten._index_put_impl_.default)
"""Operators whose second argument is a list of indices."""
LARGEST_INDEX = 2**20
"""Real tensors that would grow beyond this many values (attention masks) keep their shape alone."""


def run_operator(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run one operator, on shapes alone where an argument has no memory; so is its result.

    Indices that are moved to the model's device stay real.
    """
    tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    num_meta = sum(each.is_meta for each in tensors)
    if func is aten._to_copy.default and _is_index_to_meta(args[0], kwargs):
        return func(*args, **(kwargs | {"device": args[0].device}))
    if num_meta == len(tensors) or (num_meta == 0 and not _is_large(func, tensors)):
        return func(*args, **kwargs)
    if func in INDEXING:
        source, indices, *rest = args
        return func(_shape_of(source), indices, *map(_shape_of, rest), **kwargs)
    return func(*tree_map(_shape_of, args), **tree_map(_shape_of, kwargs))


class FusedAttention(TorchFunctionMode):
    """Attention without memory is one operator that stores no scores, as on any processor.

    PyTorch takes the unfused way for tensors without memory. Modes of this kind are off during
    backward: a block that is run again there needs one of its own.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one function."""
        kwargs = kwargs or {}
        if func is ATTENTION and args[0].is_meta:
            return _fused(*args, **kwargs)
        return func(*args, **kwargs)


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    groups = query.shape[-3] // key.shape[-3] if enable_gqa else 1
    if groups > 1:
        key, value = (each.repeat_interleave(groups, dim=-3) for each in (key, value))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = attn_mask.to(query.dtype)
    return aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]


def _shape_of(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) and not value.is_meta else value


def _is_index_to_meta(tensor: Tensor, kwargs: dict[str, Any]) -> bool:
    target = kwargs.get("device")
    is_to_meta = target is not None and torch.device(target).type == "meta"
    return is_to_meta and not tensor.is_meta and not tensor.is_floating_point()


def _is_large(func: Any, tensors: list[Tensor]) -> bool:
    if torch.Tag.pointwise not in func.tags:
        return False
    return torch.broadcast_shapes(*(each.shape for each in tensors)).numel() > LARGEST_INDEX
