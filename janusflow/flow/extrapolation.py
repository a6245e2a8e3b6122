"""Velocity caching: fewer evaluations where the velocity goes on as it went. An approximation.

An image's velocity is extrapolated from its last two evaluations, in a straight line over time. If
an evaluation finds what was extrapolated, up to a threshold, the next one is left out: the
extrapolated velocity is used there. Then comes an evaluation again: at most half are saved.
"""

import torch
from torch import Tensor

from janusflow.flow.sampler import Result, Sampler, VelocityQuery, wrap


class VelocityHistory:
    """The last two evaluations of one image, at times that rise."""

    def __init__(self) -> None:
        self.may_skip = False
        """Whether the last evaluation was extrapolated well enough."""
        self._evaluated: list[tuple[float, Tensor]] = []

    def extrapolate(self, t: float) -> Tensor | None:
        """The velocity at `t` on the line through both; None before there are two."""
        if len(self._evaluated) < 2:
            return None
        (t_before, before), (t_last, last) = self._evaluated
        return last + (t - t_last) / (t_last - t_before) * (last - before)

    def add(self, t: float, velocity: Tensor) -> None:
        """Keep an evaluation, and let go of the one before the last."""
        self._evaluated = [*self._evaluated[-1:], (t, velocity)]


def extrapolate(sampler: Sampler[Result], *, threshold: float) -> Sampler[Result]:
    """Evaluate only the images whose velocity cannot be extrapolated well enough.

    Each image decides for itself, so that none depends on its neighbours.

    Args:
        sampler: asks at times that rise, for all images of its batch each time.
        threshold: largest error of an extrapolated velocity, as a share of the velocity's norm.
    """
    histories: list[VelocityHistory] = []

    def answer(query: VelocityQuery) -> Sampler[Tensor]:
        if not histories:
            histories.extend(VelocityHistory() for _ in query.x_t)
        guesses = [history.extrapolate(query.t) for history in histories]
        velocities: list[Tensor | None] = [
            guess if history.may_skip else None
            for guess, history in zip(guesses, histories, strict=True)
        ]
        due = [row for row, velocity in enumerate(velocities) if velocity is None]
        for history in histories:
            history.may_skip = False
        if due:
            is_all = len(due) == len(histories)
            evaluated = yield (
                query if is_all else query._replace(x_t=query.x_t[due], rows=tuple(due))
            )
            compared = [i for i, row in enumerate(due) if guesses[row] is not None]
            good = _are_close(
                [guess for row in due if (guess := guesses[row]) is not None],
                evaluated[compared],
                threshold=threshold,
            )
            for i, is_good in zip(compared, good, strict=True):
                histories[due[i]].may_skip = is_good
            for row, velocity in zip(due, evaluated, strict=True):
                histories[row].add(query.t, velocity)
                velocities[row] = velocity
        return torch.stack([velocity for velocity in velocities if velocity is not None])

    return wrap(sampler, answer)


def _are_close(guesses: list[Tensor], found: Tensor, *, threshold: float) -> list[bool]:
    """Whether each guess is within the threshold: the device is waited for once a batch."""
    if not guesses:
        return []
    errors, sizes = (
        velocities.float().flatten(1).square().sum(dim=1).sqrt()
        for velocities in (torch.stack(guesses) - found, found)
    )
    return [bool(is_close) for is_close in (errors <= threshold * sizes).cpu()]
