"""Detail from the VAE on the image's own low band."""

import numpy as np
import pytest
import torch
from PIL import Image

import janusflow
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.upscaling.refinement import refined, resized, with_low_band
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene


def test_the_low_band_is_the_small_images_and_the_detail_the_large_ones():
    small, large = torch.rand(2, 3, 6, 5), torch.rand(2, 3, 12, 10)
    made = with_low_band(large, small)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(made, 2), small)
    torch.testing.assert_close(with_low_band(made, small), made)
    flat = torch.full_like(large, 0.3)
    torch.testing.assert_close(with_low_band(flat + 0.2, torch.full_like(small, 0.3)), flat)


@pytest.mark.parametrize("size", [(20, 12), (7, 9)])
def test_images_of_any_size_keep_their_squares_means(jf: JanusFlow, size: tuple[int, int]):
    """Off by what rounding to levels takes away, where nothing is clipped."""
    grey = Image.effect_noise(size, 8).convert("RGB")
    large = refined(grey, jf.vae)
    assert large.size == (2 * size[0], 2 * size[1])
    rows = np.asarray(large, np.float64).reshape(size[1], 2, size[0], 2, 3)
    clipped = ((rows == 0) | (rows == 255)).any((1, 3))
    off = np.abs(rows.mean((1, 3)) - np.asarray(grey))
    assert off[~clipped].max() <= 0.5
    assert (~clipped).any()


def test_mini_refines_its_scenes_nearer_to_the_truth_than_lanczos():
    """Truth is the same scene rendered at twice the size; eight scenes, squared errors summed."""
    vae, rng = janusflow.load("mini").vae, np.random.default_rng(5)
    errors = np.zeros(2)
    for scene in [sample_scene(rng) for _ in range(8)]:
        small, truth = render(scene, size=64), np.asarray(render(scene, size=128), np.float64)
        for place, large in enumerate([refined(small, vae), resized(small, factor=2)]):
            errors[place] += np.square(np.asarray(large) - truth).mean()
    assert errors[0] < 0.75 * errors[1]
