"""What running a module costs: floating point operations and live memory, counted as it runs.

Operations are PyTorch's FlopCounterMode's, with the formulas that it lacks. Nothing is timed, so a
model without memory (meta device) gives the same counts as a real one.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop, sdpa_flop, shape_wrapper

aten = torch.ops.aten
ATTENTION = functional.scaled_dot_product_attention


def convolution_backward_flops(
    grad_shape: Sequence[int],
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    *rest: Any,
    **_: Any,
) -> int:
    """As many operations as forward for each of the two gradients that are asked for.

    PyTorch's own formula counts the weight's gradient once a group too often: 768 times in a
    depthwise convolution of 768 channels (torch 2.13).
    """
    _bias, _stride, _padding, _dilation, is_transposed, _output_padding, _groups, wanted = rest
    positions = x_shape if is_transposed else grad_shape
    forward = 2 * prod(weight_shape) * positions[0] * prod(positions[2:])
    return forward * sum(wanted[:2])


FORMULAS: dict[Any, Callable[..., int]] = {
    aten.convolution_backward: shape_wrapper(convolution_backward_flops),
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
"""Operator -> its floating point operations, where PyTorch's table has none or a wrong one."""


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
        run = _fused if func is ATTENTION and args[0].is_meta else func
        return run(*args, **(kwargs or {}))


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
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (each.repeat_interleave(groups, dim=-3) for each in (key, value))
    mask = None if attn_mask is None else attn_mask.to(query)
    return aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=mask, scale=scale
    )[0]


class Meter(TorchDispatchMode):
    """Counts what runs inside: operations, and bytes that are alive at a time.

    Memory is that of tensors which operators make. What was there before (weights, the batch) and
    what kernels use within is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counter = FlopCounterMode(display=False)
        self.counter.flop_registry |= FORMULAS
        self.peak_bytes = 0
        self._touched: set[int] = set()
        self._live: dict[int, int] = {}
        self._live_bytes = 0

    @property
    def flops(self) -> int:
        """All operations so far."""
        return self.flops_of("Global")

    def flops_of(self, module: str) -> int:
        """Those of a module so far, by its dotted path from the class that was called first."""
        return int(sum(self.counter.flop_counts[module].values()))

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator and note what it made."""
        kwargs = kwargs or {}
        before = {_key(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        self._touched |= before
        result = func(*args, **kwargs)
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and _key(each) not in before:
                self._add(each.untyped_storage())
        return result

    def bytes_read_of(self, module: nn.Module) -> int:
        """Bytes of the module's weights that any operator took."""
        return sum(p.nbytes for p in module.parameters() if _key(p) in self._touched)

    def forget_gradient(self, parameter: Tensor) -> None:
        """Count a finished gradient no longer: it is kept like weights, in shards or whole."""
        if parameter.grad is not None:
            self._remove(_key(parameter.grad))

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._live:
            return
        self._live[key] = storage.nbytes()
        self._live_bytes += storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        weakref.finalize(storage, self._remove, key)

    def _remove(self, key: int) -> None:
        self._live_bytes -= self._live.pop(key, 0)


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def counting(*, trained: nn.Module | None = None) -> Iterator[Meter]:
    """Count what runs in the block, on real tensors or without memory.

    Args:
        trained: its finished gradients are not counted as memory.
    """
    meter = Meter()
    hooks = [
        parameter.register_post_accumulate_grad_hook(meter.forget_gradient)
        for parameter in (trained.parameters() if trained is not None else ())
        if parameter.requires_grad
    ]
    try:
        with FusedAttention(), meter.counter, meter:
            yield meter
    finally:
        for hook in hooks:
            hook.remove()
