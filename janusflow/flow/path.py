"""The straight path from noise (t=0) to data (t=1), and the velocity the model learns on it."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from janusflow.flow.sampler import Result, Sampler, VelocityQuery, wrap


@dataclass(frozen=True, kw_only=True)
class PathPoint:
    """One point on the path, together with its regression target."""

    x_t: Float[Tensor, " b *shape"]
    t: Float[Tensor, " b"]
    velocity: Float[Tensor, " b *shape"]


def per_example(values: Float[Tensor, " b"], like: Float[Tensor, " b *shape"]) -> Tensor:
    """Shape one value per example so that it broadcasts over `like`."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def point_on_path(
    *,
    data: Float[Tensor, " b *shape"],
    noise: Float[Tensor, " b *shape"],
    t: Float[Tensor, " b"],
) -> PathPoint:
    """Interpolate linearly; the velocity of a straight line does not depend on t."""
    scale = per_example(t, data)
    return PathPoint(x_t=scale * data + (1.0 - scale) * noise, t=t, velocity=data - noise)


def keep(
    sampler: Sampler[Result], *, mask: Bool[Tensor, "m 1 y x"], path: PathPoint
) -> Sampler[Result]:
    """Change only what is inside the mask; outside, every step stays on the given path.

    That path is straight, so there its velocity is exact for every solver and every step size.
    """

    def answer(query: VelocityQuery) -> Sampler[Tensor]:
        velocity = yield query
        return torch.where(mask, velocity, path.velocity.to(velocity.dtype))

    return wrap(sampler, answer)
