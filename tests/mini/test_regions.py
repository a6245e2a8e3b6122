"""Which patch shows what, against the rendered pixels, and what regions are called."""

import numpy as np
import pytest

from janusflow.mini.regions import NOWHERE, region_of_patch, regions
from janusflow.mini.render import COLOUR_RGB, render
from janusflow.mini.scenes import Background, Scene, SceneObject, sample_scene

WHITE = Background(kind="plain", tones=("white",))
RED_SQUARE = SceneObject(shape="square", colour="red", size="large", x=0.25, y=0.25)
BLUE_STAR = SceneObject(shape="star", colour="blue", size="medium", x=0.75, y=0.5)


def scene_of(*things: SceneObject) -> Scene:
    return Scene(objects=things, background=WHITE)


def plain_scene(seed: int) -> Scene:
    drawn = sample_scene(np.random.default_rng(seed))
    return Scene(objects=drawn.objects, background=WHITE)


@pytest.mark.parametrize("seed", range(30))
def test_every_patch_of_a_region_holds_its_colour_and_no_other_objects(seed: int):
    scene = plain_scene(seed)
    pixels = np.asarray(render(scene, size=64), dtype=int)
    for patch, region in enumerate(region_of_patch(scene, size=64, grid=8).tolist()):
        if region == NOWHERE:
            continue
        row, column = divmod(patch, 8)
        inside = pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].reshape(-1, 3)
        if region == 0:
            assert (inside == 255).all(axis=-1).mean() > 0.9
        else:
            colour = COLOUR_RGB[scene.objects[region - 1].colour]
            assert (inside == colour).all(axis=-1).mean() > 0.1


@pytest.mark.parametrize("seed", range(30))
def test_every_object_and_the_background_own_a_patch(seed: int):
    scene = plain_scene(seed)
    owners = set(region_of_patch(scene, size=64, grid=8).tolist())
    assert set(range(len(scene.objects) + 1)) <= owners


def test_the_grid_is_read_by_rows_from_the_top_left():
    grid = region_of_patch(scene_of(RED_SQUARE, BLUE_STAR), size=64, grid=8).reshape(8, 8)
    assert (grid[1:3, 1:3] == 1).all()
    assert (grid[6:] == 0).all()
    assert 2 in grid[4]
    assert 2 not in grid[:, :4]


def test_phrases_name_size_colour_shape_and_a_clear_place():
    rng = np.random.default_rng(1)
    scene = scene_of(
        SceneObject(shape="square", colour="red", size="small", x=0.17, y=0.17),
        SceneObject(shape="star", colour="blue", size="small", x=0.6, y=0.34),
    )
    background, square, star = regions(scene, rng, language="en")
    assert background.phrase == "a white background"
    assert square.phrase in ("small red square, top left", "little red square, top left")
    assert star.phrase in ("small blue star", "little blue star")


def test_wordings_differ_where_meanings_do_not():
    named = [
        regions(scene_of(RED_SQUARE), np.random.default_rng(seed), language=language)[1]
        for seed in range(40)
        for language in ("en", "ko")
    ]
    assert len({region.phrase for region in named}) > 4
    assert len({region.meaning for region in named}) == 1


def test_meanings_differ_where_anything_seen_differs():
    rng = np.random.default_rng(0)
    others = [
        RED_SQUARE,
        BLUE_STAR,
        SceneObject(shape="square", colour="red", size="small", x=0.25, y=0.25),
        SceneObject(shape="square", colour="red", size="large", x=0.75, y=0.25),
    ]
    meanings = [regions(scene_of(thing), rng, language="en")[1].meaning for thing in others]
    assert len(set(meanings)) == len(others)
