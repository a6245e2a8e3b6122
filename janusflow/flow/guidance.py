"""Classifier-free guidance: ask for both branches, and go past the conditional one."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.flow.path import per_example
from janusflow.flow.sampler import UNCONDITIONAL, Result, Sampler, VelocityQuery, wrap


def guide(
    sampler: Sampler[Result], weight: Callable[[float], float], *, rescale: float = 0.0
) -> Sampler[Result]:
    """Guide every velocity by the weight of its time; where that is 1, one branch is evaluated.

    Args:
        sampler: asks for the velocities.
        weight: from a time in [0, 1] to the scale w in v = w v_cond - (w - 1) v_uncond.
        rescale: as for `rescaled`.
    """

    def answer(query: VelocityQuery) -> Sampler[Tensor]:
        scale = weight(query.t)
        if scale == 1.0:
            return (yield query)
        branches = query.branches
        for branch in query.branches:
            branches += (branch + UNCONDITIONAL,)
        both = yield query._replace(branches=branches)
        return combine(both, scale=scale, rescale=rescale)

    return wrap(sampler, answer)


def combine(
    both: Float[Tensor, " two_b *shape"], *, scale: float, rescale: float = 0.0
) -> Float[Tensor, " b *shape"]:
    """Combine velocities that were evaluated together, [conditional, unconditional]."""
    conditional, unconditional = both.chunk(2)
    # Not u + w (c - u): this form is exact at scale 0 and 1, and it is the release's, whose
    # rounding `parity` repeats in bfloat16.
    combined = scale * conditional - (scale - 1.0) * unconditional
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
