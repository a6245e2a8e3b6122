"""Between two drawings: noises on the arc between them, velocities on the line between them."""

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.flow.path import VelocityFn, per_example


def spherical(
    first: Float[Tensor, " *shape"], last: Float[Tensor, " *shape"], share: float
) -> Float[Tensor, " *shape"]:
    """Walk a share of the arc from one noise to another; the length goes along evenly.

    Half-way along the straight line two noises would have lost 1 - sqrt(1/2) of their length, and
    no model has learnt to draw from such.
    """
    lengths = first.square().sum().sqrt(), last.square().sum().sqrt()
    cosine = (first * last).sum() / (lengths[0] * lengths[1])
    angle = cosine.clamp(-1.0, 1.0).arccos()
    if angle.sin() < 1e-6:  # one direction, or opposite ones, between which there is no one arc
        return torch.lerp(first, last, share)
    before, after = (((1 - share) * angle).sin(), (share * angle).sin())
    direction = (before * first / lengths[0] + after * last / lengths[1]) / angle.sin()
    return torch.lerp(lengths[0], lengths[1], share) * direction


def with_mixture(velocity: VelocityFn, *, share: Float[Tensor, " b"]) -> VelocityFn:
    """Mix a velocity function whose batch is [first, last]: share 0 is the first, 1 the last.

    `velocity` sees a batch of 2b: the caller's x_t twice.
    """

    def mixed(x_t: Float[Tensor, " b *shape"], t: Float[Tensor, " b"]) -> Tensor:
        first, last = velocity(torch.cat([x_t, x_t]), torch.cat([t, t])).chunk(2)
        return torch.lerp(first, last, per_example(share.to(first), first))

    return mixed
