"""Images show what the scene says, at any size."""

import numpy as np
import pytest

from janusflow.mini.scenes.render import COLOUR_RGB, TONE_RGB, draw_shape, outline, render
from janusflow.mini.scenes.scene import (
    BACKGROUND_KINDS,
    BOUND,
    SHAPES,
    Background,
    BackgroundKind,
    Scene,
    SceneObject,
    Shape,
    sample_scene,
)


def polygon_area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def test_a_image_is_rgb_of_the_asked_size():
    scene = sample_scene(np.random.default_rng(0))
    image = render(scene, size=96)
    assert (image.mode, image.size) == ("RGB", (96, 96))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_shape_leaves_its_bounding_circle(shape: Shape):
    assert np.linalg.norm(outline(shape), axis=-1).max() <= BOUND


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_covers_the_area_and_centre_of_its_polygon(shape: Shape):
    """Half a pixel of rim at most: the perimeter is under 12 radii, here of 40 pixels."""
    size, radius = 200, 0.2
    mask = np.asarray(draw_shape(shape, x=0.5, y=0.5, radius=radius, size=size)) / 255
    area = polygon_area(outline(shape)) * (radius * size) ** 2
    assert abs(mask.sum() - area) < 0.125 * 12 * radius * size
    upper, lower = mask[: size // 2].sum(), mask[size // 2 :].sum()
    if shape in ("circle", "square", "diamond", "cross", "ring"):
        assert abs(upper - lower) < 0.02 * area


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_the_same_at_every_size(shape: Shape):
    """Drawn twice as large and averaged, a small shape comes out again within the rim's error."""
    small = np.asarray(draw_shape(shape, x=0.4, y=0.6, radius=0.1, size=64)) / 255
    large = draw_shape(shape, x=0.4, y=0.6, radius=0.1, size=128).reduce(2)
    assert np.abs(small - np.asarray(large) / 255).max() < 0.4
    assert np.abs(small - np.asarray(large) / 255).mean() < 0.003


def test_edges_are_anti_aliased():
    mask = np.asarray(draw_shape("circle", x=0.5, y=0.5, radius=0.21, size=64))
    assert ((mask > 0) & (mask < 255)).sum() > 30


def test_the_centre_of_a_disc_has_exactly_its_colour():
    for colour, rgb in COLOUR_RGB.items():
        disc = SceneObject(shape="circle", colour=colour, size="small", x=0.3, y=0.7)
        scene = Scene(objects=(disc,), background=Background(kind="plain", tones=("cream",)))
        image = render(scene)
        assert image.getpixel((19, 44)) == rgb
        assert image.getpixel((60, 3)) == TONE_RGB["cream"]


def test_every_tone_is_paler_than_every_object_colour():
    """The detector's premise: one channel apart by more than any blur of neighbours hides."""
    assert min(map(min, TONE_RGB.values())) - max(map(min, COLOUR_RGB.values())) > 80


def test_object_colours_are_well_apart():
    rgbs = np.array(list(COLOUR_RGB.values()), dtype=float)
    distances = np.linalg.norm(rgbs[:, None] - rgbs[None], axis=-1)
    assert distances[~np.eye(len(rgbs), dtype=bool)].min() > 80


@pytest.mark.parametrize("kind", BACKGROUND_KINDS[1:])
def test_a_pattern_shows_both_tones_about_equally(kind: BackgroundKind):
    background = Background(kind=kind, tones=("white", "pale blue"))
    pixels = np.asarray(render(Scene(objects=(), background=background), size=64), float)
    white, blue = (np.array(TONE_RGB[tone], float) for tone in background.tones)
    share = (pixels.mean(axis=(0, 1)) - white) @ (blue - white) / np.sum((blue - white) ** 2)
    assert 0.25 < share < 0.55


def test_drawing_does_not_write_on_the_shared_background():
    background = Background(kind="dots", tones=("white", "cream"))
    empty = Scene(objects=(), background=background)
    before = np.asarray(render(empty)).copy()
    star = SceneObject(shape="star", colour="black", size="large", x=0.5, y=0.5)
    assert not np.array_equal(
        before, np.asarray(render(Scene(objects=(star,), background=background)))
    )
    assert np.array_equal(before, np.asarray(render(empty)))


def test_a_image_changes_only_where_its_object_is():
    background = Background(kind="checks", tones=("light grey", "pale green"))
    ring = SceneObject(shape="ring", colour="purple", size="medium", x=0.3, y=0.3)
    empty = np.asarray(render(Scene(objects=(), background=background)), int)
    drawn = np.asarray(render(Scene(objects=(ring,), background=background)), int)
    rows, columns = np.nonzero(np.abs(empty - drawn).sum(axis=-1))
    distances = np.hypot((columns + 0.5) / 64 - ring.x, (rows + 0.5) / 64 - ring.y)
    assert distances.max() <= ring.bound + 1 / 64
    assert distances.min() > 0.5 * ring.radius - 1 / 64
