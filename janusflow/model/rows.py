"""Training rows: several samples of any kind laid end to end, each read as if it stood alone."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from janusflow.config.errors import PromptError
from janusflow.model.attention import MaskFunction
from janusflow.model.packed_attention import PackedSamples

PREFIX_BRANCH = 0
"""Branch that every later token of its sample attends to."""
PAD_SEGMENT = -1
"""Segment of positions that nobody attends to: padding and dropped prompts."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Packed samples, [b, t]: a segment is a sample, and may end in several branches.

    A token attends to earlier tokens of its own segment on its own branch or on branch 0, so
    several questions can follow one image without knowing of each other. Position ids begin at 0
    in every segment and go on from the end of branch 0 in every branch.
    """

    token_ids: Int[Tensor, "b t"]
    position_ids: Int[Tensor, "b t"]
    segment_ids: Int[Tensor, "b t"]
    branches: Int[Tensor, "b t"]
    is_drawing: Bool[Tensor, "b t"]
    """Positions of images to generate: a time token, then the noisy latent's tokens."""
    drawing_positions: Int[Tensor, " m"] | None = None
    """`flat_positions` of these, where they are known: to find them on a GPU is to wait for it."""

    def rule(self) -> MaskFunction:
        """Which positions a position may attend to at most (`llm_mask`)."""
        segments, branches = self.segment_ids, self.branches

        def attends(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            segment, branch = segments[row, key], branches[row, key]
            is_own = (segment == segments[row, query]) & (segment != PAD_SEGMENT)
            return is_own & ((branch == branches[row, query]) | (branch == PREFIX_BRANCH))

        return attends

    def spans(self) -> list[tuple[int, int, int]]:
        """Row, first position and end of every sample.

        A dropped prompt lies inside its sample, between the begin token and the image.
        """
        spans = []
        for row, samples in enumerate(self.segment_ids.tolist()):
            last = {sample: at for at, sample in enumerate(samples) if sample != PAD_SEGMENT}
            spans += [(row, samples.index(sample), at + 1) for sample, at in last.items()]
        return spans

    def packed_samples(self, mask: Bool[Tensor, "b 1 t t"]) -> PackedSamples:
        """Where the samples are, each with its square of the rows' mask."""
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

    def drawing_positions_of(self, num_tokens: int) -> Int[Tensor, " m"]:
        """Flat positions of the images to generate, checked to be so many.

        Raises:
            PromptError: there is another number of tokens than of positions for them.
        """
        positions = self.drawing_positions
        if positions is None:
            positions = flat_positions(self.is_drawing)
        if num_tokens != len(positions):
            raise PromptError(
                f"{num_tokens} tokens of images to draw for {len(positions)} drawing positions in "
                "the rows: pass one noisy latent for every image."
            )
        return positions


def flat_positions(mask: Bool[Tensor, "b t"]) -> Int[Tensor, " n"]:
    """Where a mask is true, as indices of its flattened form."""
    return mask.flatten().nonzero()[:, 0]
