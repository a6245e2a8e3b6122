"""Backgrounds are read back from every render, also blurred, noisy and resized."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageFilter

from janusflow.mini.scenes.backgrounds import BACKGROUNDS, read_background
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import Background, Scene, sample_scene


def scenes(number: int, *, seed: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, num_objects=index % 4 + 1) for index in range(number)]


def test_there_are_five_plain_backgrounds_and_twenty_of_each_pattern():
    kinds = Counter(background.kind for background in BACKGROUNDS)
    assert kinds == {"plain": 5, "stripes": 20, "dots": 20, "checks": 20, "gradient": 20}
    assert len(set(BACKGROUNDS)) == 85


@pytest.mark.parametrize("background", BACKGROUNDS, ids=lambda each: f"{each.kind} {each.tones}")
def test_every_background_is_read_behind_objects(background: Background):
    scene = sample_scene(np.random.default_rng(0), num_objects=2)
    assert read_background(render(Scene(objects=scene.objects, background=background))) == (
        background
    )


@pytest.mark.parametrize("size", [32, 64, 256])
@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_backgrounds_of_sampled_scenes_are_read_back(size: int, blur: float):
    sampled = scenes(40, seed=1)
    images = [
        render(scene, size=size).filter(ImageFilter.GaussianBlur(blur * size / 64))
        for scene in sampled
    ]
    assert [read_background(image) for image in images] == [each.background for each in sampled]


def test_faded_and_noisy_backgrounds_are_read():
    """As a decoder may leave them: a tone too dark by two levels and noise of four."""
    rng = np.random.default_rng(5)
    for scene in scenes(40, seed=5):
        pixels = np.asarray(render(scene), float) - 2
        noisy = (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
        assert read_background(Image.fromarray(noisy)) == scene.background


def test_an_image_without_background_has_none():
    assert read_background(Image.new("RGB", (64, 64), (0, 0, 0))) is None
