"""The flow run backwards: from data to the noise that the same ODE leads from."""

from jaxtyping import Float
from torch import Tensor

from janusflow.flow.sampler import Result, Sampler, VelocityQuery, wrap


def reverse_times(times: Float[Tensor, " s"], *, start: float) -> Float[Tensor, " s"]:
    """Times between `start` and 1 counted from the other end, rising again."""
    return (1.0 + start - times.flip(0)).clamp(start, 1.0)


def reverse(sampler: Sampler[Result], *, start: float = 0.0) -> Sampler[Result]:
    """Make a sampler go backwards while its own time rises from `start` to 1.

    It is at data where its own time is `start`, and ends at time 1 where the flow is at `start`:
    at noise, if that is 0.
    """

    def answer(query: VelocityQuery) -> Sampler[Tensor]:
        t = min(max(1.0 + start - query.t, start), 1.0)
        return -(yield query._replace(t=t))

    return wrap(sampler, answer)
