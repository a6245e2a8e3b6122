"""Which patch shows what, against the rendered pixels, and what regions are called."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from janusflow.mini.language.words import ENGLISH_SIZES, Language
from janusflow.mini.scenes.regions import NOWHERE, Region, is_true, region_of_patch, regions
from janusflow.mini.scenes.render import COLOUR_RGB, render
from janusflow.mini.scenes.scene import Background, Scene, SceneObject, sample_scene

WHITE = Background(kind="plain", tones=("white",))
RED_SQUARE = SceneObject(shape="square", colour="red", size="large", x=0.25, y=0.25)
BLUE_STAR = SceneObject(shape="star", colour="blue", size="medium", x=0.75, y=0.5)

SMALL_SQUARE = SceneObject(shape="square", colour="red", size="small", x=0.17, y=0.17)


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


def named_square(seed: int, *, language: Language = "en", **changes: Any) -> Region:
    square = replace(SMALL_SQUARE, **changes)
    return regions(scene_of(square), np.random.default_rng(seed), language=language)[1]


@pytest.mark.parametrize(("language", "phrase"), [("en", "background"), ("ko", "배경")])
def test_every_background_is_called_that(language: Language, phrase: str):
    striped = Background(kind="stripes", tones=("white", "cream"))
    scene = Scene(objects=(RED_SQUARE,), background=striped)
    assert regions(scene, np.random.default_rng(0), language=language)[0].phrase == phrase


@pytest.mark.parametrize("seed", range(60))
def test_an_english_phrase_says_what_it_names_and_nothing_else(seed: int):
    region = named_square(seed)
    said: dict[str, bool] = {
        "size": any(word in region.phrase for word in ENGLISH_SIZES["small"]),
        "colour": "red" in region.phrase,
        "shape": "square" in region.phrase,
    }
    assert said == {trait: trait in region.named for trait in said}
    assert ("object" in region.phrase) == ("shape" not in region.named)


def test_each_trait_is_named_a_third_of_the_time():
    """600 draws; tolerance four standard errors."""
    drawn = [named_square(seed).named for seed in range(600)]
    for trait in ("size", "colour", "shape"):
        assert sum(trait in named for named in drawn) / 600 == pytest.approx(1 / 3, abs=0.08)


def test_wordings_differ_between_languages_but_traits_do_not():
    korean, english = named_square(3, language="ko"), named_square(3)
    assert korean.traits == english.traits
    assert not any("a" <= letter <= "z" for letter in korean.phrase)


@pytest.mark.parametrize(
    ("trait", "change"),
    [
        ("size", {"size": "medium"}),
        ("colour", {"colour": "blue"}),
        ("shape", {"shape": "star"}),
    ],
)
def test_a_phrase_is_true_of_another_object_unless_it_names_what_differs(
    trait: str, change: dict[str, Any]
):
    other = named_square(0, **change)
    found = [named_square(seed) for seed in range(40)]
    truth = is_true([other, *found])[1:, 0]
    assert truth.tolist() == [trait not in region.named for region in found]
    assert {True, False} == set(truth.tolist())


def test_every_phrase_is_true_of_its_own_region_and_objects_are_no_background():
    named = regions(scene_of(RED_SQUARE, BLUE_STAR), np.random.default_rng(0), language="ko")
    truth = is_true(named)
    assert truth.diagonal().all()
    assert not truth[0, 1:].any()
    assert not truth[1:, 0].any()
