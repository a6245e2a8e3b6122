"""A sampler asks for velocities and returns the latent they lead to; it never calls a model.

Solvers are samplers (solvers.py). Guidance, extrapolation, masks, mixtures and inversion wrap
one: they change what it asks for, or what it is told. Whoever has a model answers: `run_sampler`
for one batch, a scheduler for many samplers at once.
"""

from collections.abc import Callable, Generator
from typing import NamedTuple, TypeAlias, TypeVar

from torch import Tensor

CONDITIONAL, UNCONDITIONAL = 0, 1
"""Branches of an image's first prompt; those of its second one follow, 2 and 3."""
BRANCHES_PER_PROMPT = 2


class VelocityQuery(NamedTuple):
    """Where a sampler wants the velocity, and under which of the images' prompts."""

    x_t: Tensor
    """States " b *shape"."""
    t: float
    """Their time; a number, so that nobody waits for a device to read it."""
    branches: tuple[int, ...] = (CONDITIONAL,)
    """The answer has so many rows a state: all states under the first branch, then the next."""
    rows: tuple[int, ...] | None = None
    """Which images of the batch the states are of; None is all of them."""


Result = TypeVar("Result")
Sampler: TypeAlias = Generator[VelocityQuery, Tensor, Result]
"""Is sent the velocity of each query, in the dtype of its x_t, and returns the latent."""
Velocity: TypeAlias = Callable[[VelocityQuery], Tensor]
"""Answers a query: one velocity a branch and state, " branches*b *shape"."""


def run_sampler(sampler: Sampler[Result], velocity: Velocity) -> Result:
    """Answer everything a sampler asks, and return what it returns."""
    try:
        query = next(sampler)
        while True:
            query = sampler.send(velocity(query).to(query.x_t.dtype))
    except StopIteration as end:
        return end.value


def wrap(
    sampler: Sampler[Result],
    answer: Callable[[VelocityQuery], Generator[VelocityQuery, Tensor, Tensor]],
) -> Sampler[Result]:
    """Answer each query of a sampler by `answer`, which may ask for others on the way."""
    try:
        query = next(sampler)
        while True:
            query = sampler.send((yield from answer(query)))
    except StopIteration as end:
        return end.value
