"""Solvers against closed forms: order of convergence, straight paths, tolerance, counted work."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from janusflow.config.errors import ConfigError, NotFiniteError
from janusflow.flow.sampler import VelocityQuery, run_sampler
from janusflow.flow.solvers import StepInfo, solve, solve_adaptive
from janusflow.flow.tableaus import SOLVERS
from janusflow.flow.times import time_grid

VelocityFn = Callable[[torch.Tensor, float], torch.Tensor]


def solved(velocity: VelocityFn, noise: torch.Tensor, **how: Any) -> torch.Tensor:
    """Follow a velocity of state and time by a solver."""
    sampler = solve(noise, **how)
    return run_sampler(sampler, lambda query: velocity(query.x_t, query.t))


def solved_adaptively(velocity: VelocityFn, noise: torch.Tensor, **how: Any) -> torch.Tensor:
    sampler = solve_adaptive(noise, **how)
    return run_sampler(sampler, lambda query: velocity(query.x_t, query.t))


class Counting:
    """A velocity that counts its evaluations."""

    def __init__(self, velocity: VelocityFn) -> None:
        self.velocity = velocity
        self.calls = 0

    def __call__(self, x_t: torch.Tensor, t: float) -> torch.Tensor:
        self.calls += 1
        return self.velocity(x_t, t)


START = torch.tensor([[1.0, 0.5], [0.25, 2.0]])


def growth(x_t: torch.Tensor, t: float) -> torch.Tensor:
    """x' = x: x(1) = e x(0)."""
    return x_t


def riccati(x_t: torch.Tensor, t: float) -> torch.Tensor:
    """x' = -2 t x^2: x(1) = x(0) / (1 + x(0)), nonlinear and time-dependent."""
    return -2.0 * t * x_t * x_t


EQUATIONS: dict[str, tuple[VelocityFn, Callable[[torch.Tensor], torch.Tensor]]] = {
    "growth": (growth, lambda x: math.e * x),
    "riccati": (riccati, lambda x: x / (1.0 + x)),
}


def times_from_0_to_1(num_steps: int) -> torch.Tensor:
    return torch.arange(num_steps + 1, dtype=torch.float64) / num_steps


@pytest.mark.parametrize("equation", EQUATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_halving_the_step_cuts_the_error_by_two_to_the_order(solver: str, equation: str):
    """In float64: orders 4 and 5 fall below float32's rounding within a few halvings."""
    velocity, solution = EQUATIONS[equation]
    start = START.double()

    def error(num_steps: int) -> float:
        end = solved(
            velocity,
            start,
            times=times_from_0_to_1(num_steps),
            solver=solver,
            state_dtype=torch.float64,
        )
        return (end - solution(start)).norm().item()

    order = math.log2(error(32) / error(64))
    assert order == pytest.approx(SOLVERS[solver].order, abs=0.25)


def test_a_straight_path_is_solved_by_euler_in_one_step():
    data = torch.tensor([[3.0, -1.0], [0.5, 0.125]])
    end = solved(lambda x_t, t: data - START, START, times=time_grid(1))
    assert torch.equal(end, data)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_step_evaluates_the_velocity_once_a_stage(solver: str):
    calls: list[float] = []

    def counted(x_t: torch.Tensor, t: float) -> torch.Tensor:
        calls.append(t)
        return x_t

    solved(counted, START, times=time_grid(4), solver=solver)
    assert len(calls) == 4 * SOLVERS[solver].num_stages
    assert min(calls) == 0.0
    assert max(calls) <= 1.0


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_batch_equals_its_examples_alone(solver: str):
    together = solved(riccati, START, times=time_grid(7), solver=solver)
    alone = [solved(riccati, row[None], times=time_grid(7), solver=solver) for row in START]
    assert torch.equal(together, torch.cat(alone))


def test_samplers_at_different_times_share_evaluations_and_end_as_alone():
    """Four of them take as many evaluations together as the longest of them takes alone."""
    starts = [START[:1], START[1:], 2.0 * START, 0.5 * START[:1]]
    how: list[dict[str, Any]] = [
        {"times": time_grid(9)},
        {"times": time_grid(3), "solver": "heun"},
        {"times": time_grid(2), "solver": "rk4"},
    ]
    waiting = [solve(start, **each) for start, each in zip(starts[:3], how, strict=True)]
    waiting.append(solve_adaptive(starts[3], rtol=1e-1, atol=1e-1))
    wanted = {index: next(sampler) for index, sampler in enumerate(waiting)}
    ends: dict[int, torch.Tensor] = {}
    num_shared = 0
    while wanted:
        num_shared += 1
        for index, query in list(wanted.items()):
            try:
                wanted[index] = waiting[index].send(riccati(query.x_t, query.t))
            except StopIteration as end:
                ends[index] = end.value
                del wanted[index]
    count = Counting(riccati)
    adaptive = solved_adaptively(count, starts[3], rtol=1e-1, atol=1e-1)
    assert num_shared == max(9, 2 * 3, 4 * 2, count.calls)
    for index, each in enumerate(how):
        assert torch.equal(ends[index], solved(riccati, starts[index], **each))
    assert torch.equal(ends[3], adaptive)


def test_the_state_is_float32_though_the_velocity_is_not():
    seen: list[torch.dtype] = []

    def in_bfloat16(x_t: torch.Tensor, t: float) -> torch.Tensor:
        seen.append(x_t.dtype)
        return x_t.to(torch.bfloat16)

    end = solved(in_bfloat16, START.to(torch.bfloat16), times=time_grid(3))
    assert end.dtype == torch.float32
    assert set(seen) == {torch.float32}


def test_a_query_says_its_time_without_waiting_for_a_device():
    query = next(solve(START, times=time_grid(2)))
    assert query == VelocityQuery(query.x_t, 0.0, branches=(0,), rows=None)
    assert isinstance(query.t, float)


def test_a_path_may_start_late():
    """x' = x from t=0.5 grows by sqrt(e): the start of an image-to-image run."""
    times = torch.linspace(0.5, 1.0, 9)
    end = solved(growth, START, times=times, solver="rk4")
    torch.testing.assert_close(end, math.exp(0.5) * START, atol=1e-5, rtol=0)


def test_steps_are_reported_in_order_with_their_starts():
    steps: list[StepInfo] = []
    end = solved(growth, START, times=time_grid(2), on_step=steps.append)
    assert [(step.index, step.t) for step in steps] == [(0, 0.0), (1, 0.5)]
    assert torch.equal(steps[0].x_t, START)
    assert torch.equal(steps[1].x_t + 0.5 * steps[1].velocity, end)


@pytest.mark.parametrize("solver", [*SOLVERS, "dopri5"])
def test_each_step_ends_where_the_next_one_starts_and_the_last_at_the_end(solver: str):
    steps: list[StepInfo] = []
    if solver == "dopri5":
        end = solved_adaptively(growth, START, on_step=steps.append)
    else:
        end = solved(growth, START, times=time_grid(3), solver=solver, on_step=steps.append)
    for step, following in pairwise(steps):
        assert torch.equal(step.x_next, following.x_t)
    assert torch.equal(steps[-1].x_next, end)


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_preview_of_a_straight_path_is_its_end(solver: str):
    data = torch.tensor([[3.0, -1.0], [0.5, 0.125]])
    previews: list[torch.Tensor] = []
    solved(
        lambda x_t, t: data - START,
        START,
        times=time_grid(5),
        solver=solver,
        on_step=lambda step: previews.append(step.predicted_data),
    )
    assert len(previews) == 5
    torch.testing.assert_close(torch.stack(previews), data.expand(5, 2, 2), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "times", [[0.0], [0.0, 0.5, 0.5, 1.0], [1.0, 0.0], [-0.1, 1.0], [0.0, 1.5]]
)
def test_times_that_do_not_rise_through_0_to_1_are_refused(times: list[float]):
    with pytest.raises(ConfigError, match="time_grid"):
        solved(growth, START, times=torch.tensor(times))


def test_an_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'rk5'.*euler, midpoint, heun, rk4, dopri5"):
        solved(growth, START, times=time_grid(1), solver="rk5")


# parity: the release's bfloat16 arithmetic


@pytest.mark.parametrize(("dtype", "total"), [(torch.bfloat16, 1.0034), (torch.float32, 1.0)])
def test_thirty_bfloat16_steps_add_up_to_1_0034(dtype: torch.dtype, total: float):
    """A single step along a velocity of 1 moves 0 by exactly its step size."""
    grid = time_grid(30)
    zero = torch.zeros(1, 1)
    sizes = [
        solved(lambda x_t, t: torch.ones_like(x_t), zero, times=grid[i : i + 2], state_dtype=dtype)
        for i in range(30)
    ]
    assert torch.stack(sizes).double().sum().item() == pytest.approx(total, abs=5e-5)


def test_bfloat16_steps_repeat_the_release_to_the_bit():
    """The release's own loop in its own words: bfloat16 tensors for z, dt and 1000 t."""
    num_steps, scale = 30, 2.0

    def network(z: torch.Tensor, scaled_t: float) -> torch.Tensor:
        return torch.sin(3.0 * z) + (scaled_t / 400.0)[:, None].to(z.dtype)

    z = START.to(torch.bfloat16)
    dt = torch.zeros_like(z) + 1.0 / num_steps
    for step in range(num_steps):
        t = torch.tensor([step / num_steps * 1000.0] * len(z)).to(dt)
        z = z + dt * (scale * network(z, t))

    def velocity(x_t: torch.Tensor, t: float) -> torch.Tensor:
        assert x_t.dtype == torch.bfloat16
        return scale * network(x_t, (1000.0 * torch.full((len(x_t),), t)).to(torch.bfloat16))

    end = solved(velocity, START, times=time_grid(num_steps), state_dtype=torch.bfloat16)
    assert torch.equal(end, z)


@pytest.mark.parametrize("num_steps", [4, 25, 30, 50])
def test_the_times_of_parity_are_the_releases(num_steps: int):
    seen: list[torch.Tensor] = []

    def velocity(x_t: torch.Tensor, t: float) -> torch.Tensor:
        seen.append(torch.tensor(t))
        return x_t

    solved(velocity, START, times=time_grid(num_steps), state_dtype=torch.bfloat16)
    released = torch.tensor([i / num_steps * 1000.0 for i in range(num_steps)]).to(torch.bfloat16)
    assert torch.equal((1000.0 * torch.stack(seen)).to(torch.bfloat16), released)
    # The time embedding multiplies in float32: at most one rounding away from the bfloat16 value.
    torch.testing.assert_close(1000.0 * torch.stack(seen), released.float(), atol=0, rtol=2**-23)


# adaptive dopri5


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-5])
@pytest.mark.parametrize("equation", EQUATIONS)
def test_dopri5_meets_its_tolerance(equation: str, tolerance: float):
    """Errors of single steps may add up; on these equations they stay within five tolerances."""
    velocity, solution = EQUATIONS[equation]
    end = solved_adaptively(velocity, START, rtol=tolerance, atol=tolerance)
    allowed = 5.0 * tolerance * (1.0 + solution(START).abs())
    assert bool(((end - solution(START)).abs() <= allowed).all())


def test_a_tighter_tolerance_costs_more_evaluations():
    loose, tight = Counting(riccati), Counting(riccati)
    solved_adaptively(loose, 10.0 * START, rtol=1e-2, atol=1e-2)
    solved_adaptively(tight, 10.0 * START, rtol=1e-6, atol=1e-6)
    assert tight.calls > loose.calls


def test_a_step_that_is_tried_again_keeps_its_first_stage():
    """Seven stages: the last one is handed on, also to a step that is tried again."""
    steps: list[StepInfo] = []
    sharp = Counting(lambda x_t, t: (1.0 if t < 0.5 else -30.0) * x_t)
    solved_adaptively(sharp, START, on_step=steps.append)
    num_tries, rest = divmod(sharp.calls - 1, 6)
    assert rest == 0
    assert num_tries > len(steps)


def test_adaptive_steps_run_from_start_to_1_in_order():
    steps: list[StepInfo] = []
    end = solved_adaptively(growth, START, start=0.5, on_step=steps.append)
    assert [step.index for step in steps] == list(range(len(steps)))
    assert steps[0].t == 0.5
    assert sorted(step.t for step in steps) == [step.t for step in steps]
    torch.testing.assert_close(end, math.exp(0.5) * START, atol=1e-3, rtol=1e-3)


def test_a_straight_path_takes_few_adaptive_steps():
    """The first guess moves a hundredth of the state; then each step may be ten times longer."""
    steps: list[StepInfo] = []
    end = solved_adaptively(lambda x_t, t: torch.ones_like(x_t), START, on_step=steps.append)
    assert len(steps) <= 4
    torch.testing.assert_close(end, START + 1.0, atol=1e-5, rtol=0)


def test_too_much_work_is_refused_with_how_far_it_came():
    with pytest.raises(ConfigError, match=r"reached only t=0\.\d+ within max_evaluations=20"):
        solved_adaptively(lambda x_t, t: torch.sin(300.0 * x_t), START, max_evaluations=20)


def test_a_velocity_that_is_not_a_number_is_refused_and_not_followed():
    count = Counting(lambda x_t, t: x_t * (math.nan if t > 0.25 else 1.0))
    with pytest.raises(
        NotFiniteError, match=r"after step \d+ of dopri5, at t=0\.2.* is not finite"
    ):
        solved_adaptively(count, START)
    assert count.calls < 300


def test_a_tolerance_of_0_is_refused():
    with pytest.raises(ConfigError, match="rtol=0"):
        solved_adaptively(growth, START, rtol=0.0)
