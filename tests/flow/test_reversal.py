"""The flow run backwards: times mirrored, and back where one came from."""

import math

import pytest
import torch

from janusflow.flow import SOLVERS, solve, solve_adaptive, time_grid
from janusflow.flow.reversal import reverse_times, reverse_velocity


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

    def velocity(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(float(t[0]))
        return torch.full_like(x_t, 2.0)

    times = torch.tensor([0.4, 0.6, 1.0])
    end = solve(
        reverse_velocity(velocity, start=0.4),
        torch.ones(1, 3),
        times=reverse_times(times, start=0.4),
    )
    assert seen == pytest.approx([1.0, 0.6])
    torch.testing.assert_close(end, torch.full((1, 3), 1.0 - 0.6 * 2.0))


@pytest.mark.parametrize(("solver", "slope"), [("euler", 1), ("midpoint", 3), ("heun", 3)])
def test_there_and_back_is_off_by_a_power_of_the_step(solver: str, slope: int):
    """Of a method of even order the leading errors of both ways cancel: the power is one more."""

    def velocity(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(3 * x_t) + t.to(x_t)[:, None]

    x = torch.linspace(-1, 1, 7, dtype=torch.float64)[None]

    def error(steps: int) -> float:
        times = time_grid(steps)
        doubles = {"solver": solver, "state_dtype": torch.float64}
        noise = solve(
            reverse_velocity(velocity), x, times=reverse_times(times, start=0.0), **doubles
        )
        return float((solve(velocity, noise, times=times, **doubles) - x).abs().max())

    assert math.log2(error(64) / error(128)) == pytest.approx(slope, abs=0.1)


@pytest.mark.parametrize("start", [0.0, 0.4])
def test_the_way_back_of_growth_is_decay(start: float):
    """dx/dt = x: from t=1 back to `start` a state shrinks by e^(1 - start), by every solver."""
    x = torch.tensor([[1.0, -2.0]])
    back = reverse_velocity(lambda x_t, t: x_t, start=start)
    wanted = x * math.exp(start - 1)
    times = torch.linspace(start, 1, 21)
    for solver in SOLVERS:
        tolerance = 0.05 if solver == "euler" else 1e-3
        torch.testing.assert_close(
            solve(back, x, times=times, solver=solver), wanted, rtol=tolerance, atol=0
        )
    adaptive = solve_adaptive(back, x, start=start).data
    torch.testing.assert_close(adaptive, wanted, rtol=2e-3, atol=0)
