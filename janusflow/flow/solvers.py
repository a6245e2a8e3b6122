"""ODE solvers from noise (t=0) to data (t=1): fixed grids for any tableau, adaptive for dopri5.

A solver is a sampler (sampler.py): it knows nothing of models, prompts or guidance, and asks for
one velocity after another. The state is float32. The one exception is `parity`:
`solve(..., state_dtype=bfloat16)` steps as the release does, whose state, step size and time are
all bfloat16.

Adaptive step sizes are chosen on the worst example of the batch, so there an image does depend on
its neighbours, within the tolerance. Solve examples one by one where that must not be.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import ConfigError, NotFiniteError
from janusflow.flow.sampler import Sampler, VelocityQuery
from janusflow.flow.tableaus import DOPRI5, SOLVERS, ButcherTableau

# The release feeds 1000 t to its network and rounds that product, not t. Used for `parity` only.
RELEASE_TIME_SCALE = 1000.0

# Standard step control (Hairer, Norsett, Wanner I, II.4): aim a little below the tolerance, and
# never change the step size by more than these factors at once.
SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 10.0
SMALLEST_STEP = 1e-5
"""An error that is no number at this step size is not the step size's fault."""


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """A step that a solver has just made: where it started, and where it ended."""

    index: int
    """Steps made before this one."""
    t: float
    x_t: Float[Tensor, " b *shape"]
    velocity: Float[Tensor, " b *shape"]
    """At the start, under guidance."""
    x_next: Float[Tensor, " b *shape"]
    """The state at the end; after the last step the latent that is decoded."""
    num_steps: int | None = None
    """Of the whole path; None where the solver chooses."""

    @property
    def predicted_data(self) -> Float[Tensor, " b *shape"]:
        """Where the path ends if it is straight from here: the preview of the image."""
        return self.x_t + (1.0 - self.t) * self.velocity


OnStep: TypeAlias = Callable[[StepInfo], None]


def solve(
    noise: Float[Tensor, " b *shape"],
    *,
    times: Float[Tensor, " s"],
    solver: str = "euler",
    on_step: OnStep | None = None,
    state_dtype: torch.dtype = torch.float32,
) -> Sampler[Tensor]:
    """Follow the velocity through `times`, one Runge-Kutta step between neighbours.

    Args:
        noise: the state at times[0]; pure noise where that is 0.
        times: rising, within [0, 1] (see `time_grid`).
        solver: one of SOLVERS.
        on_step: called after every step with the step's start, for previews and progress.
        state_dtype: float32 (float64 where float32's rounding shows), or bfloat16 for the
            release's arithmetic (`parity`): then the state, the step size and 1000 t are rounded
            to it. Thirty rounded steps add up to 1.0034, as they do there.
    """
    if solver not in SOLVERS:
        raise ConfigError(f"solver={solver!r} is unknown. Use one of: {', '.join(SOLVERS)}.")
    x_t = noise.to(state_dtype)
    grid = list(map(float, times.cpu()))
    rises = bool((times.diff() > 0).all())
    if len(grid) < 2 or not rises or grid[0] < 0.0 or grid[-1] > 1.0:
        raise ConfigError(
            f"times={grid} do not rise through [0, 1] in at least one step. Use time_grid()."
        )
    tableau = SOLVERS[solver]
    for index, (t, t_next) in enumerate(pairwise(grid)):
        step_size = t_next - t
        if state_dtype.itemsize < 4:
            step_size = float(torch.tensor(step_size, dtype=state_dtype))
        stages = yield from _stages(x_t, t=t, step_size=step_size, tableau=tableau)
        x_next = x_t + step_size * _weighted_sum(tableau.b, stages)
        if on_step is not None:
            on_step(
                StepInfo(
                    index=index,
                    t=t,
                    x_t=x_t,
                    velocity=stages[0],
                    x_next=x_next,
                    num_steps=len(grid) - 1,
                )
            )
        x_t = x_next
    return x_t


def solve_adaptive(
    noise: Float[Tensor, " b *shape"],
    *,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    start: float = 0.0,
    max_evaluations: int = 600,
    on_step: OnStep | None = None,
) -> Sampler[Tensor]:
    """Follow the velocity from `start` to t=1 by dopri5, with steps as long as the error allows.

    A step is accepted if on every example the root mean square of error / (atol + rtol |x|) is at
    most 1. `max_evaluations` bounds the queries.

    Raises:
        ConfigError: a tolerance is not positive, or more evaluations are needed.
        NotFiniteError: the velocity is not finite, however small the step.
    """
    if not (rtol > 0.0 and atol > 0.0):
        raise ConfigError(f"rtol={rtol}, atol={atol}: both must be positive. Try 1e-3.")
    x_t, t = noise.to(torch.float32), start
    first = yield VelocityQuery(x_t, t)
    step_size = _first_step_size(x_t, first, rtol=rtol, atol=atol)
    evaluations, steps = 1, 0
    while t < 1.0:
        evaluations += DOPRI5.num_stages - 1
        if evaluations > max_evaluations:
            raise ConfigError(
                f"dopri5 reached only t={t:.4f} within max_evaluations={max_evaluations} at "
                f"rtol={rtol}, atol={atol}. Loosen the tolerance or raise the limit."
            )
        is_last = t + step_size >= 1.0
        step_size = 1.0 - t if is_last else step_size
        stages = yield from _stages(x_t, t=t, step_size=step_size, tableau=DOPRI5, first=first)
        x_next = x_t + step_size * _weighted_sum(DOPRI5.b, stages)
        error = _error(x_t, x_next, stages, step_size=step_size, rtol=rtol, atol=atol)
        if error <= 1.0:
            if on_step is not None:
                on_step(StepInfo(index=steps, t=t, x_t=x_t, velocity=first, x_next=x_next))
            # dopri5's last stage is evaluated at x_next: it is the first one of the next step.
            x_t, t, first = x_next, 1.0 if is_last else t + step_size, stages[-1]
            steps += 1
        elif not math.isfinite(error) and step_size < SMALLEST_STEP:
            raise NotFiniteError(
                f"the velocity after step {steps} of dopri5, at t={t:.4f}, is not finite: check "
                "the model's weights, or use a smaller guidance."
            )
        step_size *= _step_factor(error)
    return x_t


def _stages(
    x_t: Tensor,
    *,
    t: float,
    step_size: float,
    tableau: ButcherTableau,
    first: Tensor | None = None,
) -> Sampler[list[Tensor]]:
    """Ask for the velocities one step combines; `first` is the one at x_t, if it is known."""
    stages = [] if first is None else [first]
    for weights, c in zip(tableau.a[len(stages) :], tableau.c[len(stages) :], strict=True):
        x_stage = x_t + step_size * _weighted_sum(weights, stages) if stages else x_t
        t_stage = t + c * step_size
        if x_t.dtype.itemsize < 4:
            scaled = (RELEASE_TIME_SCALE * torch.tensor(t_stage)).to(x_t.dtype)
            t_stage = float(scaled.float() / RELEASE_TIME_SCALE)
        stages.append((yield VelocityQuery(x_stage, t_stage)))
    return stages


def _weighted_sum(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """Sum in order, without the stages of weight 0, which may be the only bulky ones."""
    total = None
    for weight, stage in zip(weights, stages, strict=True):
        if weight != 0.0:
            total = weight * stage if total is None else total + weight * stage
    assert total is not None, "every step of a tableau has a stage that counts"
    return total


def _error(
    x_t: Tensor,
    x_next: Tensor,
    stages: Sequence[Tensor],
    *,
    step_size: float,
    rtol: float,
    atol: float,
) -> float:
    """Estimate the step's error in units of the tolerance, on the worst example."""
    assert DOPRI5.b_low is not None
    difference = [high - low for high, low in zip(DOPRI5.b, DOPRI5.b_low, strict=True)]
    tolerance = atol + rtol * torch.maximum(x_t.abs(), x_next.abs())
    return _worst_norm(step_size * _weighted_sum(difference, stages) / tolerance)


def _worst_norm(x: Tensor) -> float:
    return float(x.flatten(start_dim=1).square().mean(dim=1).sqrt().max())


def _first_step_size(x_t: Tensor, velocity: Tensor, *, rtol: float, atol: float) -> float:
    """Guess a step that moves the state by a hundredth of itself; step control mends the rest."""
    tolerance = atol + rtol * x_t.abs()
    size, speed = _worst_norm(x_t / tolerance), _worst_norm(velocity / tolerance)
    return min(1.0, 0.01 * max(size, 1.0) / max(speed, 1e-12))


def _step_factor(error: float) -> float:
    """Scale the step so that the next error would meet the tolerance."""
    if not math.isfinite(error):
        return SMALLEST_FACTOR
    return min(LARGEST_FACTOR, max(SMALLEST_FACTOR, SAFETY * max(error, 1e-10) ** -0.2))
