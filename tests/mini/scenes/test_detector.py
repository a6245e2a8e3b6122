"""The detector reads every render back, also blurred, noisy and resized."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageFilter

from janusflow.config.errors import ImageError
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import (
    COLOURS,
    SHAPES,
    SIZES,
    Background,
    BackgroundKind,
    Scene,
    SceneObject,
    Shape,
    sample_background,
    sample_scene,
)


def traits(objects: tuple[SceneObject, ...]) -> Counter:
    return Counter((each.shape, each.colour, each.size) for each in objects)


def detect(image: Image.Image) -> tuple[SceneObject, ...]:
    return tuple(found.thing for found in look_at(image))


def sampled_scenes(num: int, *, seed: int) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [
        sample_scene(rng, num_objects=i % 4 + 1, split="heldout" if i % 3 == 0 else "train")
        for i in range(num)
    ]


def share_read(scenes: list[Scene], *, blur: float = 0.0, size: int = 64) -> float:
    def image(scene: Scene) -> Image.Image:
        return render(scene, size=size).filter(ImageFilter.GaussianBlur(blur))

    read = [traits(detect(image(scene))) == traits(scene.objects) for scene in scenes]
    return sum(read) / len(read)


@pytest.mark.parametrize("blur", [0.0, 0.6, 1.0])
def test_shape_colour_size_and_number_are_read_back(blur: float):
    assert share_read(sampled_scenes(32, seed=1), blur=blur) == 1.0


@pytest.mark.parametrize("size", [32, 100, 256])
def test_images_of_any_size_are_read(size: int):
    assert share_read(sampled_scenes(8, seed=2), size=size) == 1.0


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_in_every_colour(shape: Shape):
    rng = np.random.default_rng(3)
    for index, colour in enumerate(COLOURS):
        size = SIZES[index % len(SIZES)]
        x, y = rng.uniform(0.26, 0.74, size=2).tolist()
        one = SceneObject(shape=shape, colour=colour, size=size, x=x, y=y)
        image = render(Scene(objects=(one,), background=sample_background(rng)))
        assert traits(detect(image)) == traits((one,))


def test_centres_are_found_within_a_pixel():
    for scene in sampled_scenes(16, seed=4):
        found = detect(render(scene))
        for each in scene.objects:
            distances = [np.hypot(each.x - other.x, each.y - other.y) for other in found]
            assert min(distances) < 1 / 64


def test_faded_and_noisy_images_are_read():
    """As a decoder may leave them: 15% less contrast and noise of four grey levels."""
    rng = np.random.default_rng(5)
    for scene in sampled_scenes(20, seed=5):
        pixels = 128 + 0.85 * (np.asarray(render(scene), float) - 128)
        noisy = (pixels + rng.normal(0, 4, pixels.shape)).clip(0, 255).astype(np.uint8)
        assert traits(detect(Image.fromarray(noisy))) == traits(scene.objects)


def test_a_wrong_image_is_not_read_as_the_right_scene():
    """The detector must be able to say no: every scene is shown another scene's image."""
    scenes = sampled_scenes(16, seed=6)
    for scene, other in zip(scenes, scenes[1:] + scenes[:1], strict=True):
        assert traits(detect(render(other))) != traits(scene.objects)


@pytest.mark.parametrize("kind", ["plain", "stripes", "dots", "checks", "gradient"])
def test_an_empty_background_holds_nothing(kind: BackgroundKind):
    tones = ("pale blue",) if kind == "plain" else ("pale blue", "cream")
    assert detect(render(Scene(objects=(), background=Background(kind=kind, tones=tones)))) == ()


def test_a_dark_image_without_background_holds_nothing():
    assert detect(Image.new("RGB", (64, 64), (0, 0, 0))) == ()


def test_noise_is_survived():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert isinstance(detect(Image.fromarray(noise)), tuple)


@pytest.mark.parametrize("size", [(64, 32), (31, 31)])
def test_images_of_other_forms_are_refused(size: tuple[int, int]):
    with pytest.raises(ImageError, match="wanted a square one"):
        detect(Image.new("RGB", size))


def test_a_wavy_outline_overlaps_less_than_a_true_or_a_blurred_one():
    """The same circle, its rim moved by waves of two pixels: no blur, which is forgiven."""
    thing = SceneObject(shape="circle", colour="red", size="large", x=0.5, y=0.5)
    true = render(Scene(objects=(thing,), background=Background(kind="plain", tones=("white",))))
    rows, columns = np.indices((64, 64)) - 31.5
    waves = 2 * np.sin(7 * np.arctan2(rows, columns))
    wavy = np.asarray(true).copy()
    wavy[...] = wavy[0, 0]
    wavy[np.hypot(rows, columns) < 0.245 * 64 + waves] = np.asarray(true)[32, 32]
    overlaps = {
        name: [found.overlap for found in look_at(image)]
        for name, image in (
            ("true", true),
            ("blurred", true.filter(ImageFilter.GaussianBlur(1.0))),
            ("wavy", Image.fromarray(wavy)),
        )
    }
    assert {name: len(each) for name, each in overlaps.items()} == dict.fromkeys(overlaps, 1)
    assert min(overlaps["true"][0], overlaps["blurred"][0]) > 0.97 > 0.93 > overlaps["wavy"][0]
