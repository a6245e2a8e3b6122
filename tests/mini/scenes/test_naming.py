"""Words name what their scene holds, however it was said."""

from collections import Counter
from itertools import product

import numpy as np
import pytest

from janusflow.mini.language.captions import caption, description
from janusflow.mini.language.words import LANGUAGES, Language
from janusflow.mini.scenes.naming import COLOUR_NAMES, SHAPE_NAMES, named_objects
from janusflow.mini.scenes.scene import COLOURS, SHAPES, sample_scene


@pytest.mark.parametrize("language", LANGUAGES)
def test_captions_and_descriptions_name_exactly_their_scenes_objects(language: Language):
    """In all wordings: synonyms, numbers in words and digits, sizes, places, backgrounds."""
    for index in range(100):
        rng = np.random.default_rng((4, index))
        scene = sample_scene(rng)
        wanted = Counter((thing.colour, thing.shape) for thing in scene.objects)
        assert named_objects(description(scene, language=language), language=language) == wanted
        said = caption(scene, rng, language=language)
        assert named_objects(said, language=language) == wanted, said


@pytest.mark.parametrize(
    ("text", "language", "number"),
    [
        ("A red circle.", "en", 1),
        ("The picture shows 3 large red circles and some water.", "en", 3),
        ("a red circle above a red circle", "en", 2),
        ("빨간색 동그라미 네 개가 보입니다", "ko", 4),
        ("빨간 원 2개", "ko", 2),
        ("a red square and a circle", "en", 0),
        ("a tired circle, a red circlet, red, circle", "en", 0),
        ("빨간 배경에 원", "ko", 0),
        ("", "en", 0),
    ],
)
def test_only_a_colour_right_before_a_shape_counts(text: str, language: Language, number: int):
    assert named_objects(text, language=language)["red", "circle"] == number


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_has_a_name_of_its_own(language: Language):
    colours, shapes = COLOUR_NAMES[language], SHAPE_NAMES[language]
    seen = set()
    for colour, shape in product(colours, shapes):
        found = named_objects(f"{colour} {shape}", language=language)
        assert list(found) == [(colours[colour], shapes[shape])]
        seen |= set(found)
    assert seen == set(product(COLOURS, SHAPES))
