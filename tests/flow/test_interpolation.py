"""Between two noises and two velocities: lengths, angles, ends."""

import math
from itertools import pairwise

import pytest
import torch

from janusflow.flow import (
    VelocityQuery,
    guide,
    mix,
    run_sampler,
    sample_noise,
    solve,
    spherical,
    time_grid,
)

FIRST, LAST = sample_noise((4, 16, 16), seeds=[1, 2])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_noises_keep_their_length_all_the_way(share: float):
    length = spherical(FIRST, LAST, share).norm()
    torch.testing.assert_close(length, torch.lerp(FIRST.norm(), LAST.norm(), share))


def test_the_ends_are_the_noises_themselves():
    torch.testing.assert_close(spherical(FIRST, LAST, 0.0), FIRST)
    torch.testing.assert_close(spherical(FIRST, LAST, 1.0), LAST)


def test_equal_shares_are_equal_angles():
    points = [spherical(FIRST, LAST, share / 5) for share in range(6)]
    angles = [float((a * b).sum() / a.norm() / b.norm()) for a, b in pairwise(points)]
    assert angles == pytest.approx([angles[0]] * 5, abs=1e-4)


def test_a_quarter_turn_by_hand():
    x, y = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0])
    third = spherical(x, y, 1 / 3)
    torch.testing.assert_close(
        third, (2 + 2 / 3) * torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6)])
    )


def test_a_noise_and_itself_have_only_itself_between_them():
    torch.testing.assert_close(spherical(FIRST, FIRST, 0.3), FIRST)


def test_velocities_are_mixed_by_each_images_share_and_evaluated_together():
    asked: list[tuple[int, ...]] = []

    def velocity(query: VelocityQuery) -> torch.Tensor:
        asked.append(query.branches)
        # The first prompt leads nowhere, the second by 10 a unit of time.
        return torch.cat([torch.full_like(query.x_t, 5.0 * branch) for branch in query.branches])

    x_t = torch.randn(3, 5)
    sampler = mix(solve(x_t, times=time_grid(1)), share=torch.tensor([0.0, 0.25, 1.0]))
    end = run_sampler(sampler, velocity)
    torch.testing.assert_close(end, x_t + torch.tensor([0.0, 2.5, 10.0])[:, None])
    assert asked == [(0, 2)]


def test_each_prompt_of_a_mixture_is_guided_by_its_own_branch():
    asked: list[tuple[int, ...]] = []

    def velocity(query: VelocityQuery) -> torch.Tensor:
        asked.append(query.branches)
        worth = {0: 1.0, 2: 10.0, 1: 0.5, 3: 4.0}
        return torch.cat([torch.full_like(query.x_t, worth[branch]) for branch in query.branches])

    mixed = mix(solve(torch.zeros(1, 2), times=time_grid(1)), share=torch.tensor([0.5]))
    end = run_sampler(guide(mixed, lambda t: 3.0), velocity)
    wanted = (3.0 * 1.0 - 2.0 * 0.5 + 3.0 * 10.0 - 2.0 * 4.0) / 2
    torch.testing.assert_close(end, torch.full((1, 2), wanted))
    assert asked == [(0, 2, 1, 3)]
