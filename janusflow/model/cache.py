"""Keys and values of one block of the LLM, kept where the next tokens do not move them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

LEAST_ROOM = 64
"""Tokens that fit in behind those there are, at least; otherwise an eighth of them."""


class ReadOnlyLayer(DynamicLayer):
    """Shows a block its prompt's keys and values before its own, which are not kept.

    No block needs another's, so only one block's are in memory at a time.
    """

    def __init__(self, layer: DynamicLayer) -> None:
        super().__init__()
        assert layer.keys is not None
        assert layer.values is not None
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = self._prompt = layer.keys, layer.values

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """All keys and values of the block."""
        keys, values = self._prompt
        return torch.cat([keys, key_states], dim=-2), torch.cat([values, value_states], dim=-2)


class GrowingLayer(DynamicLayer):
    """Has room behind its keys and values, so that a token more copies none of those before it.

    transformers' own copies all of them at every token: for two images in the 1.3B model a
    quarter of an 8-bit token's time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rooms: tuple[Tensor, Tensor] | None = None
        self._shown: Tensor | None = None
        """The keys as they were left: any others (selected rows, a cut) have no room."""

    def __copy__(self) -> "GrowingLayer":
        """A copy does not share the room: both may grow."""
        copied = type(self)()
        vars(copied).update(vars(self), _shown=None, _rooms=None)
        return copied

    def update(
        self,
        key_states: Float[Tensor, "b g t w"],
        value_states: Float[Tensor, "b g t w"],
        *_: Any,
        **__: Any,
    ) -> tuple[Float[Tensor, "b g s w"], Float[Tensor, "b g s w"]]:
        """Keep these behind the others, and show all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        if self._rooms is None or self.keys is not self._shown or stop > self._rooms[0].shape[-2]:
            room = (0, 0, 0, stop - start + max(LEAST_ROOM, stop // 8))
            keys, values = (self.keys, self.values) if start else (key_states, value_states)
            assert keys is not None
            assert values is not None
            self._rooms = pad(keys[..., :start, :], room), pad(values[..., :start, :], room)
        keys, values = self._rooms
        keys[..., start:stop, :] = key_states
        values[..., start:stop, :] = value_states
        self._shown = self.keys = keys[..., :stop, :]
        self.values = values[..., :stop, :]
        return self.keys, self.values

    def copy_from(self, start: int) -> tuple[Float[Tensor, "b g t w"], Float[Tensor, "b g t w"]]:
        """Keys and values of the positions from this one on, which do not change any more."""
        assert self.keys is not None
        assert self.values is not None
        return self.keys[..., start:, :].clone(), self.values[..., start:, :].clone()


class GrowingCache(DynamicCache):
    """The cache of an LLM that reads one token after another.

    Blocks that forget (sliding windows) keep transformers' own layers.
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config=config)
        for index, layer in enumerate(self.layers):
            if type(layer) is DynamicLayer:
                self.layers[index] = GrowingLayer()
