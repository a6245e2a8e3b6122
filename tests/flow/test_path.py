"""The straight path: its ends, its slope, and what its parts promise."""

import torch

from janusflow.flow.path import per_example, point_on_path

GENERATOR = torch.Generator().manual_seed(0)
DATA = torch.randn(3, 4, 5, 6, generator=GENERATOR)
NOISE = torch.randn(3, 4, 5, 6, generator=GENERATOR)


def test_path_starts_at_noise_and_ends_at_data():
    start = point_on_path(data=DATA, noise=NOISE, t=torch.zeros(3))
    end = point_on_path(data=DATA, noise=NOISE, t=torch.ones(3))
    assert torch.equal(start.x_t, NOISE)
    assert torch.equal(end.x_t, DATA)


def test_velocity_is_the_slope_of_the_path():
    t = torch.tensor([0.1, 0.5, 0.7])
    here = point_on_path(data=DATA, noise=NOISE, t=t)
    later = point_on_path(data=DATA, noise=NOISE, t=t + 0.125)
    torch.testing.assert_close((later.x_t - here.x_t) / 0.125, here.velocity, atol=1e-5, rtol=0)


def test_every_example_has_its_own_time():
    t = torch.tensor([0.2, 0.4, 0.9])
    together = point_on_path(data=DATA, noise=NOISE, t=t)
    alone = point_on_path(data=DATA[1:2], noise=NOISE[1:2], t=t[1:2])
    assert torch.equal(together.x_t[1:2], alone.x_t)


def test_per_example_adds_one_axis_for_each_of_the_others():
    assert per_example(torch.ones(3), DATA).shape == (3, 1, 1, 1)
    assert per_example(torch.ones(3), torch.ones(3)).shape == (3,)
