"""Noise: a seed stands for one image's noise."""

import torch

from janusflow.flow.noise import sample_noise


def test_a_seeds_noise_does_not_depend_on_the_batch():
    alone = sample_noise((4, 6, 6), seeds=[7])
    together = sample_noise((4, 6, 6), seeds=[1, 7, 3])
    assert torch.equal(together[1:2], alone)


def test_different_seeds_give_different_noise():
    first, second = sample_noise((4, 6, 6), seeds=[1, 2])
    assert not torch.equal(first, second)


def test_noise_is_standard_normal_and_float32():
    """65,536 draws: the mean has a standard deviation of 0.004, the variance one of 0.006."""
    noise = sample_noise((4, 64, 64), seeds=[0, 1, 2, 3])
    assert noise.dtype == torch.float32
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.var().item() - 1.0) < 0.03


def test_drawing_noise_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    sample_noise((4, 6, 6), seeds=[5])
    assert torch.equal(torch.rand(3), expected)
