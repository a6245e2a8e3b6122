"""Scenes keep their promises: objects apart, splits disjoint, relations clear."""

from collections import Counter
from itertools import combinations, combinations_with_replacement
from math import hypot, sqrt
from typing import Any

import numpy as np
import pytest

from janusflow.config.errors import DataError
from janusflow.mini.scenes.render import draw_shape
from janusflow.mini.scenes.scene import (
    COLOURS,
    LATTICE,
    MARGIN,
    NUM_OBJECTS_PROBABILITIES,
    SHAPES,
    SIZES,
    Background,
    Colour,
    Relation,
    Scene,
    SceneObject,
    Shape,
    Size,
    Split,
    composition,
    has_clear_relation,
    is_held_out,
    position,
    reading_order,
    relation,
    sample_scene,
)

WHITE = Background(kind="plain", tones=("white",))


def thing(
    x: float, y: float, *, shape: Shape = "circle", colour: Colour = "red", size: Size = "small"
) -> SceneObject:
    return SceneObject(shape=shape, colour=colour, size=size, x=x, y=y)


def scenes(num: int, **request: Any) -> list[Scene]:
    rng = np.random.default_rng(7)
    return [sample_scene(rng, **request) for _ in range(num)]


def test_objects_keep_a_gap_and_a_margin_in_pixels():
    """Two empty pixels of 64 between any two objects and none of them on the image's rim."""
    for scene in scenes(60, num_objects=4):
        masks = [
            np.asarray(draw_shape(each.shape, x=each.x, y=each.y, radius=each.radius, size=64)) > 0
            for each in scene.objects
        ]
        union = sum(mask.astype(int) for mask in masks)
        assert not union[[0, -1]].any()
        assert not union[:, [0, -1]].any()
        for a, b in combinations(masks, 2):
            distances = np.linalg.norm(np.argwhere(a)[:, None] - np.argwhere(b)[None], axis=-1)
            assert distances.min() >= 2


def test_centres_stand_on_the_lattice_with_their_margin():
    for thing in (each for scene in scenes(300) for each in scene.objects):
        for coordinate in (thing.x, thing.y):
            assert (coordinate * LATTICE).is_integer()
            assert thing.bound + MARGIN <= coordinate <= 1 - thing.bound - MARGIN


def test_every_size_occurs_and_a_large_object_stands_alone():
    found = [[each.size for each in scene.objects] for scene in scenes(400)]
    assert {size for sizes in found for size in sizes} == set(SIZES)
    assert [sizes for sizes in found if "large" in sizes and len(sizes) > 1] == []


def test_bounding_circles_keep_the_documented_gap():
    for scene in scenes(300):
        for a, b in combinations(scene.objects, 2):
            assert hypot(a.x - b.x, a.y - b.y) >= a.bound + b.bound + 0.03 - 1e-9


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_a_split_never_returns_the_other_ones_compositions(split: Split):
    drawn = [sample_scene(np.random.default_rng(seed), split=split) for seed in range(200)]
    drawn += scenes(50, split=split, identical=True) + scenes(50, split=split, identical=False)
    assert {is_held_out(composition(scene)) for scene in drawn} == {split == "heldout"}


def test_one_composition_in_eight_is_held_out():
    """Of all 4185 compositions of one or two objects; tolerance three standard deviations."""
    kinds = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    every = kinds + [" + ".join(sorted(pair)) for pair in combinations_with_replacement(kinds, 2)]
    share = sum(map(is_held_out, every)) / len(every)
    assert abs(share - 1 / 8) < 3 * sqrt(1 / 8 * 7 / 8 / len(every))


def test_lone_objects_held_out_cover_every_shape():
    held_out = [(c, s) for c in COLOURS for s in SHAPES if is_held_out(f"{c} {s}")]
    assert {shape for _, shape in held_out} == set(SHAPES)
    assert len({colour for colour, _ in held_out}) >= 8


def test_composition_ignores_order_place_and_size():
    a, b = thing(0.2, 0.2), thing(0.7, 0.7, shape="star", colour="blue")
    moved = thing(0.6, 0.1, size="large")
    first = Scene(objects=(a, b), background=WHITE)
    second = Scene(objects=(b, moved), background=WHITE)
    assert composition(first) == composition(second) == "blue star + red circle"


def test_two_objects_are_always_clearly_related_on_either_axis_equally_often():
    found = scenes(600, num_objects=2)
    assert all(has_clear_relation(*scene.objects) for scene in found)
    axes = Counter(relation(*scene.objects) in ("left", "right") for scene in found)
    assert abs(axes[True] - 300) < 3 * sqrt(600 / 4)


@pytest.mark.parametrize(
    ("b", "wanted"), [((0.8, 0.5), "left"), ((0.2, 0.5), "right"), ((0.5, 0.8), "above")]
)
def test_relation_says_where_a_is_seen_from_b(b: tuple[float, float], wanted: Relation):
    opposite = {"left": "right", "right": "left", "above": "below"}
    here, there = thing(0.5, 0.5), thing(*b)
    assert relation(here, there) == wanted
    assert relation(there, here) == opposite[wanted]


def test_position_names_cells_and_abstains_near_borders():
    centres = (1 / 6, 1 / 2, 5 / 6)
    names = [position(thing(x, y)) for y in centres for x in centres]
    assert names[:3] == ["top left", "top", "top right"]
    assert names[3:6] == ["left", "centre", "right"]
    assert names[6:] == ["bottom left", "bottom", "bottom right"]
    assert position(thing(1 / 3 + 0.03, 0.5)) is None
    assert position(thing(0.5, 2 / 3 - 0.03)) is None


def test_reading_order_goes_by_rows_then_columns():
    a, b, c = thing(0.8, 0.1), thing(0.2, 0.2), thing(0.1, 0.9)
    assert reading_order((c, a, b)) == (b, a, c)


def test_numbers_of_objects_have_the_documented_frequencies():
    counts = Counter(len(scene.objects) for scene in scenes(1000))
    for number, wanted in enumerate(NUM_OBJECTS_PROBABILITIES, start=1):
        assert abs(counts[number] / 1000 - wanted) < 4 * sqrt(wanted * (1 - wanted) / 1000)


def test_identical_is_granted_refused_or_drawn():
    def has_twins(scene: Scene) -> bool:
        return len({(each.colour, each.shape) for each in scene.objects}) < len(scene.objects)

    assert all(map(has_twins, scenes(100, identical=True)))
    assert not any(map(has_twins, scenes(100, identical=False)))
    share = sum(map(has_twins, scenes(800, num_objects=3))) / 800
    assert abs(share - 0.25) < 4 * sqrt(0.25 * 0.75 / 800)


def test_twins_share_their_size():
    for scene in scenes(200, identical=True):
        kinds = {(each.colour, each.shape) for each in scene.objects}
        assert len({(each.colour, each.shape, each.size) for each in scene.objects}) == len(kinds)


def test_the_same_generator_state_draws_the_same_scene():
    first, second = (sample_scene(np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert first != sample_scene(np.random.default_rng(4))


@pytest.mark.parametrize("num_objects", [0, 5])
def test_impossible_numbers_are_refused(num_objects: int):
    with pytest.raises(DataError, match="wanted 1 to 4"):
        sample_scene(np.random.default_rng(0), num_objects=num_objects)


def test_one_object_cannot_be_identical():
    with pytest.raises(DataError, match="identical"):
        sample_scene(np.random.default_rng(0), num_objects=1, identical=True)


def test_a_pattern_needs_two_tones():
    with pytest.raises(DataError, match="wanted 2"):
        Background(kind="stripes", tones=("white",))
