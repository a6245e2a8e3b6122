"""Exponential moving average of the weights that train (paper Table 1: ratio 0.99)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class Ema:
    """Float32 shadows of a module's trainable parameters; frozen ones need none.

    Of sharded parameters every process averages the shards it holds.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.module = module
        self.shadow: dict[str, Tensor] = {
            name: parameter.detach().float().clone() for name, parameter in self._trained()
        }

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((n, p) for n, p in self.module.named_parameters() if p.requires_grad)

    @torch.no_grad()
    def update(self) -> None:
        """Move every shadow towards its parameter by 1 - decay."""
        shadows = [local(shadow) for shadow in self.shadow.values()]
        live = [local(parameter).float() for _, parameter in self._trained()]
        torch._foreach_lerp_(shadows, live, 1.0 - self.decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The module holds the average inside the block and its own weights after it."""
        live = {name: parameter.detach().clone() for name, parameter in self._trained()}
        self._copy_in(self.shadow)
        try:
            yield
        finally:
            self._copy_in(live)

    @torch.no_grad()
    def _copy_in(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._trained():
            local(parameter).copy_(local(values[name]))


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: its shards, or all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
