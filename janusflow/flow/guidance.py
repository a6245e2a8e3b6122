"""Classifier-free guidance: wrap a velocity function, leave the solver alone."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.flow.path import VelocityFn, per_example


def with_guidance(
    velocity: VelocityFn, *, scale: float | Float[Tensor, " b"], rescale: float = 0.0
) -> VelocityFn:
    """Guide a velocity function whose batch is [conditional, unconditional].

    `velocity` sees a batch of 2b: the caller's x_t twice. scale=1 is no guidance, scale=0 the
    unconditional velocity; a tensor gives every example its own scale. `rescale` is that of
    `rescaled`.
    """

    def velocity_guided(x_t: Float[Tensor, " b *shape"], t: Float[Tensor, " b"]) -> Tensor:
        both = velocity(torch.cat([x_t, x_t]), torch.cat([t, t]))
        return guided(both, scale=scale, rescale=rescale)

    return velocity_guided


def with_guidance_schedule(
    velocity: VelocityFn,
    conditional: VelocityFn,
    *,
    weight: Callable[[float], float],
    rescale: float = 0.0,
) -> VelocityFn:
    """Guide by a weight that depends on time; where it is 1, `conditional` alone is evaluated.

    Args:
        velocity: of a batch of 2b, as for `with_guidance`.
        conditional: of the caller's batch of b.
        weight: the scale at a time in [0, 1].
        rescale: as for `rescaled`.
    """

    def velocity_guided(x_t: Float[Tensor, " b *shape"], t: Float[Tensor, " b"]) -> Tensor:
        weights = [weight(float(time)) for time in t]
        if all(each == 1.0 for each in weights):
            return conditional(x_t, t)
        scale = weights[0] if len(set(weights)) == 1 else t.new_tensor(weights)
        return with_guidance(velocity, scale=scale, rescale=rescale)(x_t, t)

    return velocity_guided


def guided(
    both: Float[Tensor, " two_b *shape"],
    *,
    scale: float | Float[Tensor, " b"],
    rescale: float = 0.0,
) -> Float[Tensor, " b *shape"]:
    """Combine velocities that were evaluated together, [conditional, unconditional]."""
    conditional, unconditional = both.chunk(2)
    weight = per_example(scale.to(both), conditional) if isinstance(scale, Tensor) else scale
    # Not u + w (c - u): this form is exact at scale 0 and 1, and it is the release's, whose
    # rounding `parity` repeats in bfloat16.
    combined = weight * conditional - (weight - 1.0) * unconditional
    return combined if rescale == 0.0 else rescaled(combined, conditional, share=rescale)


def rescaled(
    combined: Float[Tensor, " b *shape"],
    conditional: Float[Tensor, " b *shape"],
    *,
    share: float,
) -> Float[Tensor, " b *shape"]:
    """Bring guided velocities back to the spread of the conditional ones (Lin et al. 2023, 3.4).

    Guidance makes velocities larger, which shows as glaring colours. `share` 1 gives every example
    the standard deviation of its conditional velocity, 0 changes nothing.
    """
    own, wanted = (
        velocity.float().flatten(1).std(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        for velocity in (combined, conditional)
    )
    factor = share * (wanted / own) + (1.0 - share)
    return per_example(factor, combined).to(combined.dtype) * combined
