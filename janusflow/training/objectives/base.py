"""What the loop minimises, whatever it is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class Objective(nn.Module, ABC):
    """What is minimised: owns the trained modules.

    Every loss is a mean over all of a step (its tokens, images and so on), however the step is
    split into processes and batches: `forward` gives sums over a batch,
    `loss_counts` what to divide by.
    """

    @abstractmethod
    def loss_counts(self, batch: Any) -> dict[str, int]:
        """How many things each loss sums over in this batch, which is still on the CPU.

        Always every loss's name, in the same order.
        """

    def loss_denominators(self, counts: dict[str, int]) -> dict[str, int]:
        """What the gradient of each loss is divided by, given a whole step's counts.

        Its own count, unless several losses are parts of one mean. Each is reported as its own.
        """
        return counts

    def batch_stats(self, batch: Any) -> dict[str, int]:  # noqa: ARG002
        """What else the log adds up over a step's batches; always the same names."""
        return {}

    @abstractmethod
    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Weighted sums of a batch on the device, float32, by the names of the losses.

        A loss that the batch has nothing for may be left out.
        """

    def begin(self) -> None:
        """Called once, with all parameters on the device and before a checkpoint is read."""

    def kept(self) -> dict[str, Tensor]:
        """What a resume needs beside parameters, by name; a checkpoint is read into these."""
        return {}

    def blocks(self) -> Sequence[nn.Module]:
        """Large modules that every batch runs through, one after another.

        Each is sharded, recomputed and compiled by itself.
        """
        return ()

    def frozen(self) -> Sequence[nn.Module]:
        """Frozen modules that stay whole and in their own precision, e.g. the VAE."""
        return ()
