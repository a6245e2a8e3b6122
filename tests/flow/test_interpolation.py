"""Between two noises and two velocities: lengths, angles, ends."""

import math
from itertools import pairwise

import pytest
import torch

from janusflow.flow import sample_noise
from janusflow.flow.interpolation import spherical, with_mixture

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


def test_velocities_are_mixed_by_each_examples_share_and_evaluated_together():
    sizes: list[int] = []

    def velocity(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x_t))
        return x_t + torch.arange(len(x_t)).to(x_t)[:, None] // 3 * 10  # 0 first, 10 last

    x_t = torch.randn(3, 5)
    mixed = with_mixture(velocity, share=torch.tensor([0.0, 0.25, 1.0]))
    torch.testing.assert_close(
        mixed(x_t, torch.zeros(3)), x_t + torch.tensor([0.0, 2.5, 10.0])[:, None]
    )
    assert sizes == [6]
