"""Extrapolated velocities: exact on straight lines, and for each example by itself."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from janusflow.flow import Sampler, VelocityQuery, extrapolate, run_sampler, solve, time_grid

VelocityFn = Callable[[torch.Tensor, float], torch.Tensor]

NOISE = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
ALL_OF_30 = [*range(30)]
EVERY_OTHER_OF_30 = [0, 1, *range(2, 30, 2)]
"""Two to extrapolate from, one to compare; from then on each second."""


def straight(x_t: torch.Tensor, t: float) -> torch.Tensor:
    return torch.full_like(x_t, 2.0)


def linear(x_t: torch.Tensor, t: float) -> torch.Tensor:
    return torch.full_like(x_t, 1.0 + 3.0 * t)


def swinging(x_t: torch.Tensor, t: float) -> torch.Tensor:
    return torch.full_like(x_t, math.sin(40.0 * t))


class Evaluations:
    """Velocities of state and time, one an example; remembers which step evaluated which."""

    def __init__(self, *velocities: VelocityFn, steps: int = 30) -> None:
        self.velocities, self.steps = velocities, steps
        self.of_row: list[list[int]] = [[] for _ in velocities]

    def __call__(self, query: VelocityQuery) -> torch.Tensor:
        rows = range(len(self.velocities)) if query.rows is None else query.rows
        for row in rows:
            self.of_row[row].append(round(query.t * self.steps))
        return torch.cat(
            [self.velocities[row](query.x_t[i : i + 1], query.t) for i, row in enumerate(rows)]
        )

    def sampler(self, times: torch.Tensor | None = None) -> Sampler[torch.Tensor]:
        noise = NOISE[: len(self.velocities)]
        return solve(noise, times=time_grid(self.steps) if times is None else times)

    def solve(self, *, threshold: float) -> torch.Tensor:
        return run_sampler(extrapolate(self.sampler(), threshold=threshold), self)

    def solve_in_full(self) -> torch.Tensor:
        return run_sampler(self.sampler(), self)


@pytest.mark.parametrize("velocity", [straight, linear])
def test_a_velocity_straight_in_time_costs_half_and_loses_nothing(velocity: VelocityFn):
    counted = Evaluations(velocity)
    found = counted.solve(threshold=1e-3)
    assert counted.of_row == [EVERY_OTHER_OF_30]
    torch.testing.assert_close(found, Evaluations(velocity).solve_in_full(), atol=1e-5, rtol=0)


def test_a_velocity_that_turns_is_evaluated_at_every_step():
    counted = Evaluations(swinging)
    found = counted.solve(threshold=0.01)
    assert counted.of_row == [ALL_OF_30]
    assert torch.equal(found, Evaluations(swinging).solve_in_full())


def test_no_two_steps_in_a_row_are_left_out():
    counted = Evaluations(lambda x_t, t: torch.full_like(x_t, math.sin(6.0 * t)))
    counted.solve(threshold=0.05)
    (evaluated,) = counted.of_row
    gaps = [after - before for before, after in pairwise(evaluated)]
    assert set(gaps) == {1, 2}


def test_a_larger_threshold_saves_more_and_errs_more():
    errors, counts = [], []
    exact = Evaluations(lambda x_t, t: math.exp(2.0 * t) + x_t).solve_in_full()
    for threshold in (0.0, 0.003, 0.01, 0.1):
        counted = Evaluations(lambda x_t, t: math.exp(2.0 * t) + x_t)
        errors.append((counted.solve(threshold=threshold) - exact).abs().max().item())
        counts.append(len(counted.of_row[0]))
    assert counts == sorted(counts, reverse=True)
    assert errors == sorted(errors)
    assert (counts[0], errors[0]) == (30, 0.0)
    assert counts[-1] == len(EVERY_OTHER_OF_30)


def test_an_example_is_evaluated_when_it_would_be_alone():
    together = Evaluations(straight, swinging)
    found = together.solve(threshold=0.01)
    assert together.of_row == [EVERY_OTHER_OF_30, ALL_OF_30]
    exact = Evaluations(straight, swinging).solve_in_full()
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=0)
    assert torch.equal(found[:1], Evaluations(straight).solve(threshold=0.01))


def test_two_paths_have_nothing_in_common():
    first, second = Evaluations(straight), Evaluations(straight)
    assert torch.equal(first.solve(threshold=0.01), second.solve(threshold=0.01))
    assert first.of_row == second.of_row


def test_an_extrapolated_velocity_is_that_of_the_line_through_the_last_two():
    """Unequal steps: the line is over time, not over the number of the step."""
    counted = Evaluations(linear, steps=1)
    times = torch.tensor([0.0, 0.1, 0.4, 0.5, 1.0])
    found = run_sampler(extrapolate(counted.sampler(times), threshold=1e-3), counted)
    assert len(counted.of_row[0]) == 3
    velocities = [1.0 + 3.0 * t for t in (0.0, 0.1, 0.4, 0.5)]
    walked = math.fsum(h * v for h, v in zip((0.1, 0.3, 0.1, 0.5), velocities, strict=True))
    torch.testing.assert_close(found, NOISE[:1] + walked, atol=1e-5, rtol=0)
