"""What the LLM reads in training: rows of several samples of any kind, none seeing another."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from janusflow.config.errors import PromptError
from janusflow.model.attention import PackedSamples, additive, is_same_image

PREFIX_BRANCH = 0
"""Branch that every later token of its sample may look at."""
PAD_SEGMENT = -1
"""Sample of positions that nobody looks at: padding and hidden prompts."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Samples laid end to end, each read as if it stood alone.

    A token sees the earlier tokens of its own sample that stand on its own branch or on branch 0.
    Positions restart with every sample and go on from the end of branch 0 in every branch.
    `is_drawing` marks where an image to draw enters: one time token, then its noisy latent's.
    """

    token_ids: Int[Tensor, "b t"]
    position_ids: Int[Tensor, "b t"]
    segment_ids: Int[Tensor, "b t"]
    branches: Int[Tensor, "b t"]
    is_drawing: Bool[Tensor, "b t"]

    def attention_mask(
        self, dtype: torch.dtype, *, images: Int[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b 1 t t"]:
        """What is added to attention scores: 0 where a position sees another, else the lowest.

        Args:
            dtype: of the scores.
            images: numbered, where an image's positions see all of it; None is causal.
        """
        is_own = self.segment_ids[:, :, None] == self.segment_ids[:, None]
        is_real = (self.segment_ids != PAD_SEGMENT)[:, None]
        is_open = (self.branches[:, :, None] == self.branches[:, None]) | (
            self.branches == PREFIX_BRANCH
        )[:, None]
        is_visible = is_own & is_real & is_open
        is_seen = is_visible.tril()
        if images is not None:
            length = self.token_ids.shape[1]
            is_seen = is_seen | (is_visible & is_same_image(images, num_queries=length))
        return additive(is_seen, dtype)

    def spans(self) -> list[tuple[int, int, int]]:
        """Row, first position and end of every sample.

        A hidden prompt stays with its sample, between the begin token and the image.
        """
        spans = []
        for row, samples in enumerate(self.segment_ids.tolist()):
            last = {sample: at for at, sample in enumerate(samples) if sample != PAD_SEGMENT}
            spans += [(row, samples.index(sample), at + 1) for sample, at in last.items()]
        return spans

    def apart(self, mask: Float[Tensor, "b 1 t t"]) -> PackedSamples:
        """Take the samples of the rows, and their squares of the rows' mask, apart."""
        spans, length = self.spans(), self.token_ids.shape[1]
        return PackedSamples(
            positions=torch.cat(
                [torch.arange(start, stop) + row * length for row, start, stop in spans]
            ),
            lengths=tuple(stop - start for _, start, stop in spans),
            masks=tuple(
                mask[row : row + 1, :, start:stop, start:stop].contiguous()
                for row, start, stop in spans
            ),
        )

    def require_room(self, num_tokens: int) -> None:
        """Refuse another number of tokens of images to draw than there are positions for them.

        Raises:
            PromptError: the numbers differ.
        """
        wanted = int(self.is_drawing.sum())
        if num_tokens != wanted:
            raise PromptError(
                f"{num_tokens} tokens of images to draw for {wanted} drawing positions in the "
                "rows: pass one noisy latent for every image."
            )
