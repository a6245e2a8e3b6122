"""What running a module costs: floating point operations and live memory, counted as it runs.

The counts are those of the operators that really run, by PyTorch's own formulas. Nothing is
timed, so a model without memory (meta.py) gives the same counts as a real one.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop, sdpa_flop, shape_wrapper

from janusflow.costs.meta import FusedAttention, run_operator

aten = torch.ops.aten


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
    **flop_registry,
    aten.convolution_backward: shape_wrapper(convolution_backward_flops),
    aten._scaled_dot_product_flash_attention_for_cpu: sdpa_flop,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: sdpa_backward_flop,
}
"""Operator -> its floating point operations: PyTorch's table, with what it lacks."""


class Meter(TorchDispatchMode):
    """Counts what runs inside: operations, and bytes that are alive at a time.

    Memory is that of tensors which operators make. What was there before (weights, the batch) and
    what kernels use within is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.flops_by_part: Counter[str] = Counter()
        self.peak_bytes = 0
        self.touched: set[int] = set()
        self._live: dict[int, int] = {}
        self._live_bytes = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one operator and count it."""
        kwargs = kwargs or {}
        before = {_key(each) for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        self.touched |= before
        result = run_operator(func, args, kwargs)
        formula = FORMULAS.get(getattr(func, "overloadpacket", None))
        if formula is not None:
            self.flops += int(formula(*args, **kwargs, out_val=result))
        for each in tree_leaves(result):
            if isinstance(each, Tensor) and _key(each) not in before:
                self._add(each.untyped_storage())
        return result

    def bytes_read_of(self, module: nn.Module) -> int:
        """Bytes of the module's weights that any operator took."""
        return sum(p.nbytes for p in module.parameters() if _key(p) in self.touched)

    def follow(self, name: str, part: nn.Module) -> tuple[Any, Any]:
        """Count a part's forward passes under its name; returns the hooks."""
        started: list[int] = []

        def begin(*_: Any) -> None:
            started.append(self.flops)

        def end(*_: Any) -> None:
            self.flops_by_part[name] += self.flops - started.pop()

        return part.register_forward_pre_hook(begin), part.register_forward_hook(end)

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
def counting(
    parts: Mapping[str, nn.Module] | None = None,
    *,
    trained: nn.Module | None = None,
) -> Iterator[Meter]:
    """Count what runs in the block, on real tensors or without memory.

    Args:
        parts: modules whose forward passes are also counted by these names.
        trained: its finished gradients are not counted as memory.
    """
    meter = Meter()
    hooks = [hook for name, part in (parts or {}).items() for hook in meter.follow(name, part)]
    for parameter in trained.parameters() if trained is not None else ():
        if parameter.requires_grad:
            hooks.append(parameter.register_post_accumulate_grad_hook(meter.forget_gradient))
    try:
        with FusedAttention(), meter:
            yield meter
    finally:
        for hook in hooks:
            hook.remove()
