"""Between two drawings: noises on the arc between them, velocities on the line between them."""

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.flow.path import per_example
from janusflow.flow.sampler import BRANCHES_PER_PROMPT, Result, Sampler, VelocityQuery, wrap


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


def mix(sampler: Sampler[Result], *, share: Float[Tensor, " b"]) -> Sampler[Result]:
    """Mix the velocities under the images' two prompts: share 0 is the first, 1 the second."""

    def answer(query: VelocityQuery) -> Sampler[Tensor]:
        others = tuple(branch + BRANCHES_PER_PROMPT for branch in query.branches)
        first, last = (yield query._replace(branches=query.branches + others)).chunk(2)
        shares = share.to(first).repeat(len(query.branches))
        return torch.lerp(first, last, per_example(shares, first))

    return wrap(sampler, answer)
