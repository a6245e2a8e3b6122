"""Guidance: identities at scale 0 and 1, linearity, schedules that skip work, and spread."""

from collections.abc import Callable

import pytest
import torch

from janusflow.config.guidance import schedule_of
from janusflow.flow import (
    CONDITIONAL,
    UNCONDITIONAL,
    VelocityQuery,
    combine,
    guide,
    run_sampler,
    solve,
    time_grid,
)
from janusflow.flow.guidance import rescaled

GENERATOR = torch.Generator().manual_seed(0)
X_T = torch.randn(2, 4, 3, 3, generator=GENERATOR)
T = 0.25


def conditional(x_t: torch.Tensor, t: float) -> torch.Tensor:
    return torch.sin(x_t) + t


def unconditional(x_t: torch.Tensor, t: float) -> torch.Tensor:
    return torch.cos(x_t) * t


class Counting:
    """Answers queries, and remembers which branches were asked for at which time."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], float]] = []

    def __call__(self, query: VelocityQuery) -> torch.Tensor:
        self.calls.append((query.branches, round(query.t, 4)))
        velocities = {CONDITIONAL: conditional, UNCONDITIONAL: unconditional}
        return torch.cat([velocities[branch](query.x_t, query.t) for branch in query.branches])


def both(x_t: torch.Tensor, t: float) -> torch.Tensor:
    return torch.cat([conditional(x_t, t), unconditional(x_t, t)])


def guided(scale: float, *, rescale: float = 0.0) -> torch.Tensor:
    return combine(both(X_T, T), scale=scale, rescale=rescale)


def test_scale_1_is_no_guidance():
    assert torch.equal(guided(1.0), conditional(X_T, T))


def test_scale_0_is_the_unconditional_velocity():
    assert torch.equal(guided(0.0), unconditional(X_T, T))


def test_guidance_goes_past_the_condition_by_the_scale():
    start, towards = unconditional(X_T, T), conditional(X_T, T)
    torch.testing.assert_close(guided(3.5), start + 3.5 * (towards - start), atol=1e-5, rtol=0)


def test_scale_is_idle_where_the_prompt_says_nothing():
    same = torch.cat([conditional(X_T, T)] * 2)
    torch.testing.assert_close(combine(same, scale=2.0), conditional(X_T, T), atol=1e-6, rtol=0)


def test_guidance_keeps_the_dtype_of_the_velocity():
    assert combine(both(X_T, T).to(torch.bfloat16), scale=2.0).dtype == torch.bfloat16


# ---- over time ----------------------------------------------------------------------------------


def drawn(weight: Callable[[float], float], *, solver: str = "euler") -> torch.Tensor:
    return run_sampler(guide(solve(X_T, times=time_grid(10), solver=solver), weight), Counting())


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_outside_an_interval_the_unconditional_branch_is_not_evaluated(solver: str):
    count = Counting()
    sampler = solve(X_T, times=time_grid(10), solver=solver)
    run_sampler(guide(sampler, schedule_of("3@0.2-0.5").weight), count)
    both_branches = (CONDITIONAL, UNCONDITIONAL)
    assert {branches for branches, _ in count.calls} == {(CONDITIONAL,), both_branches}
    assert {t for branches, t in count.calls if branches == both_branches} == {0.2, 0.3, 0.4}
    alone = {t for branches, t in count.calls if branches == (CONDITIONAL,)}
    assert {0.0, 0.1, 0.5, 0.6, 0.7, 0.8, 0.9} <= alone


def test_weight_1_is_no_guidance():
    alone = run_sampler(
        solve(X_T, times=time_grid(10)), lambda query: conditional(query.x_t, query.t)
    )
    assert torch.equal(drawn(lambda t: 1.0), alone)


def test_an_interval_of_the_whole_path_is_full_guidance_and_one_without_evaluations_none():
    whole, between = schedule_of("3@0-1"), schedule_of("3@0.11-0.19")
    assert torch.equal(drawn(whole.weight), drawn(lambda t: 3.0))
    assert torch.equal(drawn(between.weight), drawn(lambda t: 1.0))


def test_a_ramp_gives_every_step_its_own_weight():
    x_t = X_T
    for step in range(10):
        x_t = x_t + 0.1 * combine(both(x_t, step / 10), scale=4.0 - 3.0 * step / 10)
    torch.testing.assert_close(drawn(schedule_of("4..1").weight), x_t, atol=1e-5, rtol=0)


# ---- spread -------------------------------------------------------------------------------------


def spread(velocity: torch.Tensor) -> torch.Tensor:
    return velocity.flatten(1).std(dim=1)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_rescaling_brings_every_examples_spread_back_by_its_share(share: float):
    plain, wanted = guided(6.0), conditional(X_T, T)
    velocity = guided(6.0, rescale=share)
    between = share * spread(wanted) + (1.0 - share) * spread(plain)
    torch.testing.assert_close(spread(velocity), between)
    # The direction stays: each example is multiplied by one number.
    torch.testing.assert_close(
        velocity / spread(velocity)[:, None, None, None], plain / spread(plain)[:, None, None, None]
    )


def test_rescaling_changes_nothing_at_share_0_and_nothing_of_what_is_not_guided():
    assert torch.equal(guided(6.0, rescale=0.0), guided(6.0))
    torch.testing.assert_close(rescaled(X_T, X_T, share=1.0), X_T)


def test_rescaling_does_not_divide_by_nothing():
    still = torch.zeros_like(X_T)
    assert torch.equal(rescaled(still, X_T, share=1.0), still)
