"""Times: the logit-normal law against its closed form, the grid against its formula."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from janusflow.config.errors import ConfigError
from janusflow.flow.times import GRIDS, sample_logit_normal, time_grid


def draw(num: int, *, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sample_logit_normal(num, mean=mean, std=std, generator=generator)


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.8, 0.5), (-1.0, 2.0)])
@pytest.mark.parametrize("probability", [0.05, 0.25, 0.5, 0.75, 0.95])
def test_logit_normal_has_the_closed_form_distribution(mean: float, std: float, probability: float):
    """P(t <= sigmoid(mean + std q)) = p for the standard normal's quantile q of p.

    The share of 40,000 draws has a standard deviation of at most 0.0025: four of them are allowed.
    """
    normal_quantile = torch.special.ndtri(torch.tensor(probability)).item()
    quantile = 1.0 / (1.0 + math.exp(-(mean + std * normal_quantile)))
    share = (draw(40_000, mean=mean, std=std) <= quantile).float().mean().item()
    assert abs(share - probability) < 0.01


def test_logit_normal_never_reaches_the_ends_even_where_float32_saturates():
    t = draw(2_000, std=200.0)
    assert t.min() > 0.0
    assert t.max() < 1.0


def test_logit_normal_is_float32_and_repeats_with_its_generator():
    assert draw(8).dtype == torch.float32
    assert torch.equal(draw(8, seed=3), draw(8, seed=3))
    assert not torch.equal(draw(8, seed=3), draw(8, seed=4))


@given(num_steps=st.integers(1, 300), shift=st.floats(0.1, 10.0), name=st.sampled_from([*GRIDS]))
def test_grid_rises_from_exactly_0_to_exactly_1(num_steps: int, shift: float, name: str):
    grid = time_grid(num_steps, shift=shift, grid=name)
    assert grid.shape == (num_steps + 1,)
    assert grid.dtype == torch.float32
    assert grid[0] == 0.0
    assert grid[-1] == 1.0
    assert bool((grid[1:] > grid[:-1]).all())


def test_unshifted_grid_is_uniform_to_the_bit():
    assert torch.equal(time_grid(30), torch.tensor([i / 30 for i in range(31)]))


@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_shift_is_the_one_of_stable_diffusion_3_on_noise_levels(shift: float):
    """Written for the noise level u = 1 - t, as in the paper, and turned round at the end."""
    level = torch.linspace(1.0, 0.0, 11, dtype=torch.float64)
    expected = 1.0 - shift * level / (1.0 + (shift - 1.0) * level)
    torch.testing.assert_close(time_grid(10, shift=shift), expected.float(), atol=1e-7, rtol=0)


def test_shift_above_1_spends_more_steps_near_noise():
    near_noise = (time_grid(30, shift=3.0) < 0.5).sum()
    assert near_noise > (time_grid(30) < 0.5).sum()


@pytest.mark.parametrize(("num_steps", "shift"), [(0, 1.0), (-3, 1.0), (10, 0.0), (10, math.nan)])
def test_a_grid_that_cannot_be_is_refused_with_its_value(num_steps: int, shift: float):
    wrong = num_steps if num_steps < 1 else shift
    with pytest.raises(ConfigError, match=str(wrong)):
        time_grid(num_steps, shift=shift)


def test_the_cosine_grid_is_even_in_the_angle():
    """t = 1 - cos(angle), so the angles of its times are a right angle in equal parts."""
    angles = torch.arccos(1.0 - time_grid(10, grid="cosine").double())
    expected = torch.linspace(0.0, math.pi / 2, 11, dtype=torch.float64)
    torch.testing.assert_close(angles, expected, atol=1e-5, rtol=0)


def test_an_unknown_grid_is_refused_with_those_that_are():
    with pytest.raises(ConfigError, match=r"grid='sine' is unknown\. Use one of: uniform, cosine"):
        time_grid(10, grid="sine")
