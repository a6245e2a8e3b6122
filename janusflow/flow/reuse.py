"""Fewer evaluations where the velocity goes on as it went: an approximation, off unless asked for.

An example's velocity is foretold from its last two evaluations, in a straight line over time. An
evaluation that finds what was foretold, up to a threshold, makes the next one superfluous: there
the foretold velocity is used. Then comes an evaluation again, so that at most half are saved.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.flow.path import VelocityFn

VelocityOfRows: TypeAlias = Callable[[list[int]], VelocityFn]
"""The velocity function of some examples of the batch, by their indices."""


class VelocityExtrapolation:
    """What is known of one example's velocity, on one path, at times that rise."""

    def __init__(self, *, threshold: float) -> None:
        self.threshold = threshold
        """Largest error of a foretold velocity, as a share of the velocity's norm."""
        self._evaluated: list[tuple[float, Tensor]] = []
        self._may_skip = False

    def skip(self, t: float) -> Tensor | None:
        """The velocity to use at `t` without evaluating, if that may be done now."""
        extrapolated = self._extrapolate(t) if self._may_skip else None
        self._may_skip = False
        return extrapolated

    def learn(self, t: float, velocity: Tensor) -> None:
        """Take an evaluation, and see whether it was foretold."""
        extrapolated = self._extrapolate(t)
        self._evaluated = [*self._evaluated[-1:], (t, velocity)]
        if extrapolated is not None:
            self._may_skip = _size(extrapolated - velocity) <= self.threshold * _size(velocity)

    def _extrapolate(self, t: float) -> Tensor | None:
        """The velocity at `t`, if two are known."""
        if len(self._evaluated) < 2:
            return None
        (t_before, before), (t_last, last) = self._evaluated
        return last + (t - t_last) / (t_last - t_before) * (last - before)


def _size(velocity: Tensor) -> float:
    return float(velocity.float().square().sum().sqrt())


def with_extrapolation(velocity_of: VelocityOfRows, *, threshold: float) -> VelocityFn:
    """Evaluate only the examples whose velocity is not foretold well enough.

    Each example decides for itself, so that none depends on its neighbours. What is returned serves
    one path: call it with times that rise, and with the same examples each time.

    Args:
        velocity_of: gives the velocity function of the examples that are evaluated.
        threshold: as of VelocityExtrapolation.
    """
    pasts: list[VelocityExtrapolation] = []

    def velocity(x_t: Float[Tensor, " b *shape"], t: Float[Tensor, " b"]) -> Tensor:
        if not pasts:
            pasts.extend(VelocityExtrapolation(threshold=threshold) for _ in x_t)
        times = [float(time) for time in t]
        known = {
            row: extrapolated
            for row, (past, time) in enumerate(zip(pasts, times, strict=True))
            if (extrapolated := past.skip(time)) is not None
        }
        due = [row for row in range(len(pasts)) if row not in known]
        if due:
            evaluated = velocity_of(due)(x_t[due], t[due])
            for row, found in zip(due, evaluated, strict=True):
                pasts[row].learn(times[row], found)
                known[row] = found
        return torch.stack([known[row] for row in range(len(pasts))])

    return velocity
