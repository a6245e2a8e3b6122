"""The flow run backwards: from data to the noise that the same ODE leads from."""

from jaxtyping import Float
from torch import Tensor

from janusflow.flow.path import VelocityFn


def reverse_times(times: Float[Tensor, " s"], *, start: float) -> Float[Tensor, " s"]:
    """Times between `start` and 1 counted from the other end, rising again."""
    return (1.0 + start - times.flip(0)).clamp(start, 1.0)


def reverse_velocity(velocity: VelocityFn, *, start: float = 0.0) -> VelocityFn:
    """Make the velocity of the way back, as any solver follows it from `start` to 1.

    It is at data where its own time is `start`, and ends at time 1 where the flow is at `start`:
    at noise, if that is 0.
    """

    def back(x_t: Float[Tensor, " b *shape"], t: Float[Tensor, " b"]) -> Tensor:
        return -velocity(x_t, (1.0 + start - t).clamp(start, 1.0))

    return back
