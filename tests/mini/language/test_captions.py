"""Captions are true, complete and well formed; a reader of its own checks them."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from itertools import chain

import numpy as np
import pytest

from janusflow.mini.language.captions import (
    PLACED_PROBABILITY,
    caption,
    description,
    placed_caption,
    planned_caption,
)
from janusflow.mini.language.words import (
    ENGLISH_PLACES,
    ENGLISH_SIZES,
    KOREAN_COLOURS,
    KOREAN_POSITIONS,
    KOREAN_SHAPES,
    KOREAN_SIZES,
    Language,
    with_particles,
)
from janusflow.mini.scenes.scene import (
    SIZES,
    Background,
    Scene,
    SceneObject,
    composition,
    position,
    relation,
    sample_scene,
)

NUMBERS = {"": 1, "a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4}
NUMBERS |= {str(number): number for number in range(1, 5)}
KOREAN_NUMBERS = {"": 1, "한": 1, "두": 2, "세": 3, "네": 4}
ENGLISH_OBJECT = re.compile(
    r"(?:\b(an?|one|two|three|four|[1-4]) )?(?:(small|little|medium|medium-sized|large|big) )?"
    r"\b(red|orange|yellow|green|cyan|blue|purple|pink|brown|black) "
    r"(circle|square|triangle|star|heart|diamond|cross|ring|crescent)(?:e?s)?\b"
)
COLOUR_OF = {name: colour for colour, names in KOREAN_COLOURS.items() for name in names}
SHAPE_OF = {name: shape for shape, names in KOREAN_SHAPES.items() for name in names}
SIZE_WORDS = {
    "en": [f"{name} " for names in ENGLISH_SIZES.values() for name in names],
    "ko": [f"{name} " for name in KOREAN_SIZES.values()],
}
"""How captions name sizes, before what is of that size."""


def alternatives(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True))


KOREAN_OBJECT = re.compile(
    rf"(?:(작은|중간 크기의|큰) )?\b({alternatives(COLOUR_OF)}) ({alternatives(SHAPE_OF)})"
    r"(?: (한|두|세|네) 개)?"
)
RELATIONS = {"left of": "left", "right of": "right", "above": "above", "below": "below"}
RELATIONS |= {"under": "below", "to the left of": "left", "to the right of": "right"}
PLACE = re.compile(
    r"\b((?:in|at|on) the (?:top|bottom|left|right|cent|middle)[a-z ]*?)(?= on a |[.?]|$)"
)
PLACE_OF = {phrase: place for place, said in ENGLISH_PLACES.items() for phrase in said}
PLACE_OF |= {place: place for place in ENGLISH_PLACES}
PLACE_OF |= {place: name for name, place in KOREAN_POSITIONS.items()}
ANY_PLACE = re.compile(
    rf"({alternatives(dict.fromkeys(chain(KOREAN_POSITIONS.values(), *ENGLISH_PLACES.values())))})"
)
KOREAN_RELATIONS = {"왼쪽": "left", "오른쪽": "right", "위": "above", "아래": "below"}


def read(text: str, language: Language) -> Counter:
    """Count the (colour, shape) pairs a text names."""
    found: Counter = Counter()
    if language == "en":
        for number, _, colour, shape in ENGLISH_OBJECT.findall(text.lower()):
            found[colour, shape] += NUMBERS[number]
    else:
        for _, colour, shape, number in KOREAN_OBJECT.findall(text):
            found[COLOUR_OF[colour], SHAPE_OF[shape]] += KOREAN_NUMBERS[number]
    return found


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_plain_caption_says_nothing_but_colours_shapes_and_numbers(language: Language):
    rng = np.random.default_rng(5)
    filler = r"a|an|and|with|one|two|three|four|[234]|[,.]|그리고|하고|한|두|세|네|개|[과와]"
    for _ in range(300):
        scene = sample_scene(rng)
        text = caption(scene, rng, language=language, plain=1.0)
        assert read(text, language) == kinds(scene), text
        objects = ENGLISH_OBJECT if language == "en" else KOREAN_OBJECT
        rest = objects.sub(" ", text.lower()).split()
        assert all(re.fullmatch(filler, word) for word in rest), text
        assert not any(
            match[1 if language == "en" else 0] for match in objects.findall(text.lower())
        )


@cache
def captions(
    language: Language, num: int, *, placed: float = PLACED_PROBABILITY
) -> list[tuple[Scene, str]]:
    rng = np.random.default_rng(11)
    scenes = [sample_scene(rng) for _ in range(num)]
    return [(scene, caption(scene, rng, language=language, placed=placed)) for scene in scenes]


def kinds(scene: Scene) -> Counter:
    return Counter((thing.colour, thing.shape) for thing in scene.objects)


def the(scene: Scene, colour: str, shape: str) -> SceneObject:
    return next(each for each in scene.objects if (each.colour, each.shape) == (colour, shape))


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_caption_names_every_object_and_no_other(language: Language):
    for scene, text in captions(language, 800)[:600]:
        assert read(text, language) == kinds(scene), text


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_description_names_every_object_and_no_other(language: Language):
    for scene, _ in captions(language, 800)[:300]:
        assert read(description(scene, language=language), language) == kinds(scene)


def test_english_relations_are_true_and_said_of_most_pairs():
    num_pairs = num_related = 0
    for scene, text in captions("en", 800, placed=0.0):
        if len(scene.objects) != 2 or len(kinds(scene)) != 2:
            continue
        num_pairs += 1
        objects = list(ENGLISH_OBJECT.finditer(text.lower()))
        between = text.lower()[objects[0].end() : objects[1].start()].strip()
        if between not in ("and", "with"):
            num_related += 1
            a, b = (the(scene, *match.group(3, 4)) for match in objects)
            assert relation(a, b) == RELATIONS[between], text
    assert abs(num_related / num_pairs - 0.65) < 4 * np.sqrt(0.23 / num_pairs)


def test_korean_relations_are_true():
    num_related = 0
    for scene, text in captions("ko", 800, placed=0.0):
        objects = list(KOREAN_OBJECT.finditer(text))
        between = text[objects[0].end() : objects[1].start()] if len(objects) == 2 else ""
        said = re.fullmatch(r"의? (왼쪽|오른쪽|위|아래)에(?: 있는)? ", between)
        if said:
            num_related += 1
            b, a = (
                the(scene, COLOUR_OF[match.group(2)], SHAPE_OF[match.group(3)]) for match in objects
            )
            assert relation(a, b) == KOREAN_RELATIONS[said.group(1)], text
    assert num_related > 50


def test_sizes_are_true_and_said_of_half():
    canonical = {"little": "small", "medium-sized": "medium", "big": "large"}
    num_sized = 0
    for scene, text in captions("en", 800):
        named = [match for match in ENGLISH_OBJECT.findall(text.lower()) if match[1]]
        num_sized += bool(named)
        for _, size, colour, shape in named:
            assert canonical.get(size, size) == the(scene, colour, shape).size, text
    assert abs(num_sized / 800 - 0.64) < 4 * np.sqrt(0.25 / 800)


def test_places_are_true_and_said_of_most_lone_objects():
    num_lone = num_placed = 0
    for scene, text in captions("en", 800):
        if len(scene.objects) == 1:
            num_lone += 1
            place = position(scene.objects[0])
            said = PLACE.search(text)
            if said:
                num_placed += 1
                assert place is not None
                assert said.group(1) in ENGLISH_PLACES[place], text
    assert abs(num_placed / num_lone - 0.69) < 0.08


def said_places(text: str, language: Language) -> Counter:
    """The (colour, shape, place) triples a text names: places follow in English, lead in Korean."""
    found: Counter = Counter()
    objects = list((ENGLISH_OBJECT if language == "en" else KOREAN_OBJECT).finditer(text))
    for index, match in enumerate(objects):
        if language == "en":
            end = objects[index + 1].start() if index + 1 < len(objects) else len(text)
            kind, between = match.group(3, 4), text[match.end() : end]
        else:
            start = objects[index - 1].end() if index else 0
            kind = COLOUR_OF[match.group(2)], SHAPE_OF[match.group(3)]
            between = text[start : match.start()]
        found.update((*kind, PLACE_OF[place]) for place in ANY_PLACE.findall(between))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_object_of_a_placed_caption_is_named_with_its_own_place(language: Language):
    num_placed = 0
    for scene, text in captions(language, 800, placed=1.0):
        places = [position(thing) for thing in scene.objects]
        wanted = Counter(
            (each.colour, each.shape, place)
            for each, place in zip(scene.objects, places, strict=True)
        )
        said = said_places(text.lower(), language)
        if None in places:
            assert len(scene.objects) == 2 or not said, text
        elif len(places) > 1:
            num_placed += 1
            assert said == wanted, text
    assert num_placed > 300


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_placed_caption_tells_what_stands_where_and_where_nothing_stands(language: Language):
    nothing = {"en": "nothing", "ko": "없음"}[language]
    num_unclear = 0
    for scene, _ in captions("en", 800)[:300]:
        placed = placed_caption(scene, np.random.default_rng(3), language=language)
        at = {position(thing): thing for thing in scene.objects}
        if placed is None:
            num_unclear += 1
            assert None in at
            continue
        assert len(placed.holds) == len(scene.objects) + 2
        held = Counter(thing for _, thing in placed.holds)
        assert held.pop(nothing) == 2
        for place, thing in placed.holds:
            stands = at.get(PLACE_OF[place])
            if stands is None:
                assert thing == nothing
            else:
                assert read(thing, language) == Counter([(stands.colour, stands.shape)])
        assert held.total() == len(scene.objects)
    assert 30 < num_unclear < 130


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_plan_says_in_english_what_its_caption_says_and_where_each_object_is(language: Language):
    num_planned = 0
    for seed in range(300):
        scene = sample_scene(np.random.default_rng((seed, 0)))
        rng, same = np.random.default_rng(seed), np.random.default_rng(seed)
        planned = planned_caption(scene, rng, language=language, placed=0.2, plain=0.3)
        is_clear = all(position(thing) is not None for thing in scene.objects)
        assert (planned is not None) == is_clear
        if planned is None:
            continue
        num_planned += 1
        text = caption(scene, same, language=language, placed=0.2, plain=0.3)
        assert planned.text == text
        wanted = Counter((each.colour, each.shape, position(each)) for each in scene.objects)
        assert said_places(planned.plan, "en") == wanted, planned.plan
        assert read(planned.plan, "en") == read(text, language)
        assert len(planned.plan.split(", ")) == len(scene.objects)
        sizes = Counter(word for word in planned.plan.split() if word in SIZES)
        is_sized = any(word in text.lower() for word in SIZE_WORDS[language])
        assert sizes == Counter(each.size for each in scene.objects if is_sized)
        said = "background" if language == "en" else "배경"
        assert ("background" in planned.plan) == (said in text)
    assert num_planned > 150


def test_backgrounds_are_true_and_said_of_half():
    found = captions("en", 800)
    named = [(scene, text) for scene, text in found if "background" in text]
    for scene, text in named:
        assert all(tone in text for tone in scene.background.tones), text
        words = {"stripes": "striped", "dots": "dots", "checks": "checked", "gradient": "fading"}
        assert {kind for kind, word in words.items() if word in text} == (
            {scene.background.kind} - {"plain"}
        )
    assert abs(len(named) / 800 - 0.56) < 4 * np.sqrt(0.25 / 800)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_no_slot_or_particle_is_left_open(language: Language):
    assert not [text for _, text in captions(language, 800) if re.search(r"[][{}]|  |,,", text)]


def test_english_articles_fit():
    for _, text in captions("en", 800):
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text


@pytest.mark.parametrize("language", ["en", "ko"])
def test_phrasing_varies(language: Language):
    rng = np.random.default_rng(0)
    scene = sample_scene(rng, num_objects=2, identical=False)
    assert len({caption(scene, rng, language=language) for _ in range(200)}) > 50


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("원[은/는]", "원은"),
        ("하트[은/는]", "하트는"),
        ("별[을/를] 그려 줘", "별을 그려 줘"),
        ("마름모[이/가] 있다", "마름모가 있다"),
        ("빨간 원 세 개[과/와] 고리[이랑/랑]", "빨간 원 세 개와 고리랑"),
        ("초승달[이랑/랑]", "초승달이랑"),
    ],
)
def test_particles_follow_the_final_consonant(template: str, wanted: str):
    assert with_particles(template) == wanted


@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_description_does_not_depend_on_the_order_of_objects(language: Language):
    for scene, _ in captions(language, 800)[:200]:
        turned = Scene(objects=scene.objects[::-1], background=scene.background)
        assert description(turned, language=language) == description(scene, language=language)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_equal_descriptions_mean_equal_compositions(language: Language):
    compositions: dict[str, str] = {}
    for scene, _ in captions(language, 800):
        text = description(scene, language=language)
        assert compositions.setdefault(text, composition(scene)) == composition(scene)


def test_descriptions_read_as_documented():
    star = SceneObject(shape="star", colour="orange", size="small", x=0.2, y=0.5)
    cross = SceneObject(shape="cross", colour="red", size="small", x=0.8, y=0.5)
    other = SceneObject(shape="cross", colour="red", size="small", x=0.8, y=0.9)
    plain = Background(kind="plain", tones=("white",))
    two = Scene(objects=(cross, star), background=plain)
    assert description(two, language="en") == "an orange star left of a red cross"
    assert description(two, language="ko") == "빨간 십자가 왼쪽에 주황색 별"
    three = Scene(objects=(star, cross, other), background=plain)
    assert description(three, language="en") == "two red crosses and an orange star"
    assert description(three, language="ko") == "빨간 십자가 두 개와 주황색 별 한 개"
