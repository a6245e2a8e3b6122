"""What the LLM reads in training: rows of several samples of any kind, none seeing another."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SHARED = 0
"""Branch that every later token of its sample may look at."""
NOBODY = -1
"""Sample of positions that nobody looks at: padding and hidden prompts."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Samples laid end to end, each read as if it stood alone.

    A token sees the earlier tokens of its own sample that stand on its own branch or on branch 0.
    Positions restart with every sample and go on from the end of branch 0 in every branch.
    `is_drawing` marks where a picture to draw enters: one time token, then its noisy latent's.
    """

    token_ids: Int[Tensor, "b t"]
    position_ids: Int[Tensor, "b t"]
    samples: Int[Tensor, "b t"]
    branches: Int[Tensor, "b t"]
    is_drawing: Bool[Tensor, "b t"]

    def attention_mask(self, dtype: torch.dtype) -> Float[Tensor, "b 1 t t"]:
        """What is added to attention scores: 0 where a position sees another, else the lowest."""
        is_own = self.samples[:, :, None] == self.samples[:, None]
        is_real = (self.samples != NOBODY)[:, None]
        is_open = (self.branches[:, :, None] == self.branches[:, None]) | (self.branches == SHARED)[
            :, None
        ]
        is_seen = (is_own & is_real & is_open).tril()
        mask = torch.zeros(is_seen.shape, dtype=dtype, device=is_seen.device)
        return mask.masked_fill(~is_seen, torch.finfo(dtype).min)[:, None]
