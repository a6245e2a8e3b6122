"""Guidance: identities at scale 0 and 1, linearity, schedules that skip work, and spread."""

from collections.abc import Callable

import pytest
import torch

from janusflow.config.guidance import schedule_of
from janusflow.flow.guidance import rescaled, with_guidance, with_guidance_schedule
from janusflow.flow.path import VelocityFn
from janusflow.flow.solvers import solve
from janusflow.flow.times import time_grid

GENERATOR = torch.Generator().manual_seed(0)
X_T = torch.randn(2, 4, 3, 3, generator=GENERATOR)
T = torch.tensor([0.25, 0.75])


def conditional(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.sin(x_t) + t[:, None, None, None]


def unconditional(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.cos(x_t) * t[:, None, None, None]


def both(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The first half of the batch is conditional, the second unconditional."""
    x_conditional, x_unconditional = x_t.chunk(2)
    t_conditional, t_unconditional = t.chunk(2)
    return torch.cat(
        [conditional(x_conditional, t_conditional), unconditional(x_unconditional, t_unconditional)]
    )


def test_scale_1_is_no_guidance():
    assert torch.equal(with_guidance(both, scale=1.0)(X_T, T), conditional(X_T, T))


def test_scale_0_is_the_unconditional_velocity():
    assert torch.equal(with_guidance(both, scale=0.0)(X_T, T), unconditional(X_T, T))


def test_guidance_goes_past_the_condition_by_the_scale():
    start, towards = unconditional(X_T, T), conditional(X_T, T)
    guided = with_guidance(both, scale=3.5)(X_T, T)
    torch.testing.assert_close(guided, start + 3.5 * (towards - start), atol=1e-5, rtol=0)


def test_scale_is_idle_where_the_prompt_says_nothing():
    def indifferent(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return conditional(x_t, t)

    guided = with_guidance(indifferent, scale=2.0)(X_T, T)
    torch.testing.assert_close(guided, conditional(X_T, T), atol=1e-6, rtol=0)


def test_a_tensor_gives_every_example_its_own_scale():
    guided = with_guidance(both, scale=torch.tensor([1.0, 5.0]))(X_T, T)
    assert torch.equal(guided[:1], with_guidance(both, scale=1.0)(X_T, T)[:1])
    assert torch.equal(guided[1:], with_guidance(both, scale=5.0)(X_T, T)[1:])


def test_guidance_keeps_the_dtype_of_the_velocity():
    def in_bfloat16(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return both(x_t, t).to(torch.bfloat16)

    for scale in (2.0, torch.tensor([2.0, 3.0])):
        assert with_guidance(in_bfloat16, scale=scale)(X_T, T).dtype == torch.bfloat16


# ---- over time ----------------------------------------------------------------------------------


class Counting:
    """A velocity function that remembers how many rows it was called with at which time."""

    def __init__(self, velocity: VelocityFn) -> None:
        self.velocity = velocity
        self.calls: list[tuple[int, float]] = []

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self.calls.append((len(x_t), round(float(t[0]), 4)))
        return self.velocity(x_t, t)


def drawn(weight: Callable[[float], float], *, rescale: float = 0.0) -> torch.Tensor:
    velocity = with_guidance_schedule(both, conditional, weight=weight, rescale=rescale)
    return solve(velocity, X_T, times=time_grid(10))


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_outside_an_interval_the_unconditional_branch_is_not_evaluated(solver: str):
    guided, alone = Counting(both), Counting(conditional)
    velocity = with_guidance_schedule(guided, alone, weight=schedule_of("3@0.2-0.5").weight)
    solve(velocity, X_T, times=time_grid(10), solver=solver)
    assert {rows for rows, _ in guided.calls} == {4}
    assert {rows for rows, _ in alone.calls} == {2}
    assert {t for _, t in guided.calls} == {0.2, 0.3, 0.4}
    assert {0.0, 0.1, 0.5, 0.6, 0.7, 0.8, 0.9} <= {t for _, t in alone.calls}


def test_a_constant_schedule_is_the_scale_and_weight_1_is_no_guidance():
    scaled = solve(with_guidance(both, scale=2.5), X_T, times=time_grid(10))
    assert torch.equal(drawn(lambda t: 2.5), scaled)
    assert torch.equal(drawn(lambda t: 1.0), solve(conditional, X_T, times=time_grid(10)))


def test_an_interval_of_the_whole_path_is_full_guidance_and_one_without_evaluations_none():
    whole, between = schedule_of("3@0-1"), schedule_of("3@0.11-0.19")
    assert torch.equal(drawn(whole.weight), drawn(lambda t: 3.0))
    assert torch.equal(drawn(between.weight), drawn(lambda t: 1.0))


def test_a_ramp_gives_every_step_its_own_weight():
    x_t = X_T
    for step in range(10):
        t = torch.full((2,), step / 10)
        x_t = x_t + 0.1 * with_guidance(both, scale=4.0 - 3.0 * step / 10)(x_t, t)
    torch.testing.assert_close(drawn(schedule_of("4..1").weight), x_t, atol=1e-5, rtol=0)


def test_examples_at_different_times_have_the_weights_of_their_times():
    weight = schedule_of("3@0.2-0.5").weight
    guided = with_guidance_schedule(both, conditional, weight=weight)(X_T, T)
    assert torch.equal(guided[:1], with_guidance(both, scale=3.0)(X_T, T)[:1])
    assert torch.equal(guided[1:], conditional(X_T, T)[1:])


# ---- spread -------------------------------------------------------------------------------------


def spread(velocity: torch.Tensor) -> torch.Tensor:
    return velocity.flatten(1).std(dim=1)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_rescaling_brings_every_examples_spread_back_by_its_share(share: float):
    plain, wanted = with_guidance(both, scale=6.0)(X_T, T), conditional(X_T, T)
    velocity = with_guidance(both, scale=6.0, rescale=share)(X_T, T)
    between = share * spread(wanted) + (1.0 - share) * spread(plain)
    torch.testing.assert_close(spread(velocity), between)
    # The direction stays: each example is multiplied by one number.
    torch.testing.assert_close(
        velocity / spread(velocity)[:, None, None, None], plain / spread(plain)[:, None, None, None]
    )


def test_rescaling_changes_nothing_at_share_0_and_nothing_of_what_is_not_guided():
    assert torch.equal(
        with_guidance(both, scale=6.0, rescale=0.0)(X_T, T), with_guidance(both, scale=6.0)(X_T, T)
    )
    torch.testing.assert_close(rescaled(X_T, X_T, share=1.0), X_T)


def test_rescaling_does_not_divide_by_nothing():
    still = torch.zeros_like(X_T)
    assert torch.equal(rescaled(still, X_T, share=1.0), still)
