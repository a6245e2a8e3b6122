"""The flow run backwards: times mirrored, and back where one came from."""

import math

import pytest
import torch

from janusflow.flow import (
    SOLVERS,
    Sampler,
    VelocityQuery,
    reverse,
    reverse_times,
    run_sampler,
    solve,
    solve_adaptive,
    time_grid,
)


def test_mirrored_times_rise_through_the_same_interval():
    grid = time_grid(10, shift=3.0)
    times = torch.cat([torch.tensor([0.3]), grid[grid > 0.3]])
    once = reverse_times(times, start=0.3)
    assert (float(once[0]), float(once[-1])) == pytest.approx((0.3, 1.0))
    assert bool((once.diff() > 0).all())
    torch.testing.assert_close(once.diff().flip(0), times.diff())
    torch.testing.assert_close(reverse_times(once, start=0.3), times)


def test_backwards_sees_the_flows_own_times_and_goes_the_other_way():
    seen: list[float] = []

    def velocity(query: VelocityQuery) -> torch.Tensor:
        seen.append(query.t)
        return torch.full_like(query.x_t, 2.0)

    times = reverse_times(torch.tensor([0.4, 0.6, 1.0]), start=0.4)
    end = run_sampler(reverse(solve(torch.ones(1, 3), times=times), start=0.4), velocity)
    assert seen == pytest.approx([1.0, 0.6])
    torch.testing.assert_close(end, torch.full((1, 3), 1.0 - 0.6 * 2.0))


@pytest.mark.parametrize(("solver", "slope"), [("euler", 1), ("midpoint", 3), ("heun", 3)])
def test_there_and_back_is_off_by_a_power_of_the_step(solver: str, slope: int):
    """Of a method of even order the leading errors of both ways cancel: the power is one more."""

    def velocity(query: VelocityQuery) -> torch.Tensor:
        return torch.sin(3 * query.x_t) + query.t

    x = torch.linspace(-1, 1, 7, dtype=torch.float64)[None]

    def walk(start: torch.Tensor, times: torch.Tensor) -> Sampler[torch.Tensor]:
        return solve(start, times=times, solver=solver, state_dtype=torch.float64)

    def error(steps: int) -> float:
        times = time_grid(steps).double()
        noise = run_sampler(reverse(walk(x, reverse_times(times, start=0.0))), velocity)
        return float((run_sampler(walk(noise, times), velocity) - x).abs().max())

    assert math.log2(error(64) / error(128)) == pytest.approx(slope, abs=0.1)


@pytest.mark.parametrize("start", [0.0, 0.4])
def test_the_way_back_of_growth_is_decay(start: float):
    """dx/dt = x: from t=1 back to `start` a state shrinks by e^(1 - start), by every solver."""
    x = torch.tensor([[1.0, -2.0]])
    wanted = x * math.exp(start - 1)

    def back(sampler: Sampler[torch.Tensor]) -> torch.Tensor:
        return run_sampler(reverse(sampler, start=start), lambda query: query.x_t)

    for solver in SOLVERS:
        tolerance = 0.05 if solver == "euler" else 1e-3
        end = back(solve(x, times=torch.linspace(start, 1, 21), solver=solver))
        torch.testing.assert_close(end, wanted, rtol=tolerance, atol=0)
    torch.testing.assert_close(back(solve_adaptive(x, start=start)), wanted, rtol=2e-3, atol=0)
