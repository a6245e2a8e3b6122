"""Classifier-free guidance: wrap a velocity function, leave the solver alone."""

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.flow.path import VelocityFn, per_example


def with_guidance(velocity: VelocityFn, *, scale: float | Float[Tensor, " b"]) -> VelocityFn:
    """Guide a velocity function whose batch is [conditional, unconditional].

    `velocity` sees a batch of 2b: the caller's x_t twice. scale=1 is no guidance, scale=0 the
    unconditional velocity; a tensor gives every example its own scale.
    """

    def velocity_guided(x_t: Float[Tensor, " b *shape"], t: Float[Tensor, " b"]) -> Tensor:
        return guided(velocity(torch.cat([x_t, x_t]), torch.cat([t, t])), scale=scale)

    return velocity_guided


def guided(
    both: Float[Tensor, " two_b *shape"], *, scale: float | Float[Tensor, " b"]
) -> Float[Tensor, " b *shape"]:
    """Combine velocities that were evaluated together, [conditional, unconditional]."""
    conditional, unconditional = both.chunk(2)
    weight = per_example(scale.to(both), conditional) if isinstance(scale, Tensor) else scale
    # Not u + w (c - u): this form is exact at scale 0 and 1, and it is the release's, whose
    # rounding `parity` repeats in bfloat16.
    return weight * conditional - (weight - 1.0) * unconditional
