"""ODE solvers from noise (t=0) to data (t=1): fixed grids for any tableau, adaptive for dopri5.

A solver knows nothing of models, prompts or guidance: it is handed a velocity function and the
times. Guidance wraps the velocity function (guidance.py). Underneath, a solver is a generator that
asks for one velocity after another (`solver_steps`), so that solvers at different times can have
theirs evaluated together; `solve` is the one that is alone. The state is float32, whatever dtype
the velocity comes back in. The one exception is `parity`: `solve(..., state_dtype=bfloat16)`
steps as the release does, whose state, step size and time are all bfloat16.

Adaptive step sizes are chosen on the worst example of the batch, so there an image does depend on
its neighbours, within the tolerance. Solve examples one by one where that must not be.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.flow.path import VelocityFn
from janusflow.flow.tableaus import DOPRI5, SOLVERS, ButcherTableau

# The release feeds 1000 t to its network and rounds that product, not t. Used for `parity` only.
RELEASE_TIME_SCALE = 1000.0

# Standard step control (Hairer, Norsett, Wanner I, II.4): aim a little below the tolerance, and
# never change the step size by more than these factors at once.
SAFETY, SMALLEST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 10.0


@dataclass(frozen=True, kw_only=True)
class StepInfo:
    """Where a solver is: the start of the step it has just made."""

    index: int
    """Steps made before this one."""
    t: float
    x_t: Float[Tensor, " b *shape"]
    velocity: Float[Tensor, " b *shape"]

    @property
    def predicted_data(self) -> Float[Tensor, " b *shape"]:
        """Where the path ends if it is straight from here: the preview of the image."""
        return self.x_t + (1.0 - self.t) * self.velocity


@dataclass(frozen=True, kw_only=True)
class AdaptiveSolution:
    """The data, and the work that it took."""

    data: Float[Tensor, " b *shape"]
    num_evaluations: int
    num_steps: int
    num_rejected: int


OnStep: TypeAlias = Callable[[StepInfo], None]


class VelocityQuery(NamedTuple):
    """Where a solver wants the velocity: states " b *shape" and a time " b" for each."""

    x_t: Tensor
    t: Tensor


Result = TypeVar("Result")
Sampler: TypeAlias = Generator[VelocityQuery, Tensor, Result]
"""Asks for velocities, is sent each of them (" b *shape"), and returns what they lead to."""


def run_sampler(velocity: VelocityFn, solver_steps: Sampler[Result]) -> Result:
    """Give a solver every velocity it asks for, and return what it returns."""
    try:
        evaluation = next(solver_steps)
        while True:
            evaluation = solver_steps.send(velocity(evaluation.x_t, evaluation.t))
    except StopIteration as end:
        return end.value


def solve(
    velocity: VelocityFn,
    noise: Float[Tensor, " b *shape"],
    *,
    times: Float[Tensor, " s"],
    solver: str = "euler",
    on_step: OnStep | None = None,
    state_dtype: torch.dtype = torch.float32,
) -> Float[Tensor, " b *shape"]:
    """Follow the velocity through `times`, one Runge-Kutta step between neighbours.

    Args:
        velocity: called with the state and a float32 time per example.
        noise: the state at times[0]; pure noise where that is 0.
        times: rising, within [0, 1] (see `time_grid`).
        on_step: called after every step with the step's start, for previews and progress.
        state_dtype: float32 (float64 where float32's rounding shows), or bfloat16 for the
            release's arithmetic (`parity`): then the state, the step size and 1000 t are rounded
            to it, and the velocity gets the rounded t as float32. Thirty rounded steps add up to
            1.0034, as they do there.
    """
    return run_sampler(
        velocity,
        solver_steps(noise, times=times, solver=solver, on_step=on_step, state_dtype=state_dtype),
    )


def solver_steps(
    noise: Float[Tensor, " b *shape"],
    *,
    times: Float[Tensor, " s"],
    solver: str = "euler",
    on_step: OnStep | None = None,
    state_dtype: torch.dtype = torch.float32,
) -> Sampler[Tensor]:
    """Do what `solve` does, asking for the velocities instead of calling for them."""
    tableau = _tableau(solver)
    grid = _checked_times(times)
    x_t = noise.to(state_dtype)
    for index, (t, t_next) in enumerate(pairwise(grid)):
        step_size = _rounded(t_next - t, state_dtype)
        stages = yield from _stages(x_t, t=t, step_size=step_size, tableau=tableau)
        if on_step is not None:
            on_step(StepInfo(index=index, t=t, x_t=x_t, velocity=stages[0]))
        x_t = x_t + step_size * _weighted_sum(tableau.b, stages)
    return x_t


def solve_adaptive(
    velocity: VelocityFn,
    noise: Float[Tensor, " b *shape"],
    *,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    start: float = 0.0,
    max_evaluations: int = 600,
    on_step: OnStep | None = None,
) -> AdaptiveSolution:
    """Follow the velocity from `start` to t=1 by dopri5, with steps as long as the error allows.

    A step is accepted if on every example the root mean square of error / (atol + rtol |x|) is at
    most 1. `max_evaluations` bounds the calls of `velocity`; needing more is refused.
    """
    return run_sampler(
        velocity,
        adaptive_solver_steps(
            noise,
            rtol=rtol,
            atol=atol,
            start=start,
            max_evaluations=max_evaluations,
            on_step=on_step,
        ),
    )


def adaptive_solver_steps(
    noise: Float[Tensor, " b *shape"],
    *,
    rtol: float = 1e-3,
    atol: float = 1e-3,
    start: float = 0.0,
    max_evaluations: int = 600,
    on_step: OnStep | None = None,
) -> Sampler[AdaptiveSolution]:
    """Do what `solve_adaptive` does, asking for the velocities instead of calling for them."""
    if not (rtol > 0.0 and atol > 0.0):
        raise ConfigError(f"rtol={rtol}, atol={atol}: both must be positive. Try 1e-3.")
    x_t, t = noise.to(torch.float32), start
    first = yield from _evaluate(x_t, t)
    step_size = _first_step_size(x_t, first, rtol=rtol, atol=atol)
    evaluations, steps, rejected = 1, 0, 0
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
                on_step(StepInfo(index=steps, t=t, x_t=x_t, velocity=first))
            # dopri5's last stage is evaluated at x_next: it is the first one of the next step.
            x_t, t, first = x_next, 1.0 if is_last else t + step_size, stages[-1]
            steps += 1
        else:
            rejected += 1
        step_size *= _step_factor(error)
    return AdaptiveSolution(
        data=x_t, num_evaluations=evaluations, num_steps=steps, num_rejected=rejected
    )


def _stages(
    x_t: Tensor,
    *,
    t: float,
    step_size: float,
    tableau: ButcherTableau,
    first: Tensor | None = None,
) -> Sampler[list[Tensor]]:
    """Ask for the velocities one step combines; `first` is the one at x_t, if it is known."""
    stages = [(yield from _evaluate(x_t, t)) if first is None else first]
    for weights, c in zip(tableau.a[1:], tableau.c[1:], strict=True):
        x_stage = x_t + step_size * _weighted_sum(weights, stages)
        stages.append((yield from _evaluate(x_stage, t + c * step_size)))
    return stages


def _evaluate(x_t: Tensor, t: float) -> Sampler[Tensor]:
    time_dtype = torch.promote_types(x_t.dtype, torch.float32)
    per_batch = torch.full((x_t.shape[0],), t, dtype=time_dtype, device=x_t.device)
    velocity = yield VelocityQuery(x_t, _as_held_in(x_t.dtype, per_batch))
    return velocity.to(x_t.dtype)


def _weighted_sum(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """Sum in order, without the stages of weight 0, which may be the only bulky ones."""
    terms = [w * stage for w, stage in zip(weights, stages, strict=True) if w != 0.0]
    return sum(terms[1:], start=terms[0])


def _is_exact(dtype: torch.dtype) -> bool:
    """Whether `dtype` holds times without harm: bfloat16 keeps only 8 bits of 1000 t."""
    return torch.finfo(dtype).bits >= 32


def _rounded(value: float, dtype: torch.dtype) -> float:
    return value if _is_exact(dtype) else float(torch.tensor(value, dtype=dtype))


def _as_held_in(dtype: torch.dtype, t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Round times as the release's `dtype` holds them."""
    if _is_exact(dtype):
        return t
    return (RELEASE_TIME_SCALE * t).to(dtype).to(torch.float32) / RELEASE_TIME_SCALE


def _tableau(solver: str) -> ButcherTableau:
    if solver not in SOLVERS:
        raise ConfigError(f"solver={solver!r} is unknown. Use one of: {', '.join(SOLVERS)}.")
    return SOLVERS[solver]


def _checked_times(times: Tensor) -> list[float]:
    grid = [float(t) for t in times]
    rises = all(earlier < later for earlier, later in pairwise(grid))
    if len(grid) < 2 or not rises or grid[0] < 0.0 or grid[-1] > 1.0:
        raise ConfigError(
            f"times={grid} do not rise through [0, 1] in at least one step. Use time_grid()."
        )
    return grid


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
