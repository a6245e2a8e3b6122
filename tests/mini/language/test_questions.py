"""Every answer is right, checked by a second, independent answerer; wordings are balanced."""

import re
from collections import Counter
from functools import cache
from itertools import chain
from typing import get_args

import numpy as np
import pytest

from janusflow.mini.language.captions import description
from janusflow.mini.language.questions import NAMES, Kind, Name, Question, ask_all, is_correct
from janusflow.mini.language.wordings import WORDINGS
from janusflow.mini.language.words import (
    KOREAN_COLOURS,
    KOREAN_POSITIONS,
    KOREAN_RELATIONS,
    KOREAN_SHAPES,
    KOREAN_SIZE_ANSWERS,
    Language,
)
from janusflow.mini.scenes.scene import (
    COLOURS,
    SHAPES,
    Background,
    Scene,
    SceneObject,
    position,
    relation,
    sample_scene,
)

LANGUAGES: tuple[Language, ...] = ("en", "ko")
NUMBERS = ("zero", "one", "two", "three", "four")
KOREAN_NUMBERS = ("", "한", "두", "세", "네")
RELATIONS = {"left of": "left", "right of": "right", "above": "above", "below": "below"}
RELATIONS["under"] = "below"
# Longest first, and no Korean name inside another word: "주황색" holds "주황".
KOREAN_NAMES = [(name, colour) for colour, names in KOREAN_COLOURS.items() for name in names]
KOREAN_NAMES += [(name, shape) for shape, names in KOREAN_SHAPES.items() for name in names]
KOREAN_NAMES.sort(key=lambda pair: -len(pair[0]))
KOREAN_WORD = {
    **dict(KOREAN_NAMES),
    **{names[0] + "색": colour for colour, names in KOREAN_COLOURS.items()},
}


@cache
def asked(language: Language) -> list[tuple[Scene, Question]]:
    rng = np.random.default_rng(13)
    scenes = [sample_scene(rng) for _ in range(300)]
    return [(scene, each) for scene in scenes for each in ask_all(scene, rng, language=language)]


def phrases(text: str, language: Language) -> list[list[str]]:
    """The objects a question names, in its order, each by its colour, its shape or both."""
    if language == "en":
        colour, shape, thing = "|".join(COLOURS), rf"(?:{'|'.join(SHAPES)})(?=e?s?\b)", "object"
    else:
        colour = "|".join(name for name, trait in KOREAN_NAMES if trait in COLOURS)
        shape = "|".join(name for name, trait in KOREAN_NAMES if trait in SHAPES)
        thing = "도형"
    pattern = rf"(?<!\w)(?:({colour}) (?:({shape})|{thing})|({shape})|({colour}))"
    found = re.findall(pattern, text.lower())
    return [[KOREAN_WORD.get(word, word) for word in groups if word] for groups in found]


def traits(text: str, language: Language) -> list[str]:
    """The colours and shapes a question names, in the order it names them."""
    return list(chain(*phrases(text, language)))


def named(scene: Scene, words: list[str]) -> list[SceneObject]:
    """The objects that have all the traits."""
    return [each for each in scene.objects if set(words) <= {each.colour, each.shape}]


def canonical(answer: str) -> list[str]:
    """The traits an answer names, whatever its language."""
    return [KOREAN_WORD.get(word, word) for word in answer.split()]


def of_kind(language: Language, kind: Kind) -> list[tuple[Scene, Question]]:
    return [(scene, each) for scene, each in asked(language) if each.kind == kind]


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["colour", "shape"])
def test_all_that_is_spoken_of_has_the_colour_or_shape_answered(language: Language, kind: Kind):
    for scene, question in of_kind(language, kind):
        meant = named(scene, traits(question.text, language))
        values = {each.colour if kind == "colour" else each.shape for each in meant}
        assert [*values] == canonical(question.answer), question


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_counts_are_right(language: Language):
    for scene, question in of_kind(language, "count"):
        meant = named(scene, traits(question.text, language))
        assert question.answer == str(len(meant)), question


@pytest.mark.parametrize("language", LANGUAGES)
def test_positions_are_of_the_one_object_named(language: Language):
    for scene, question in of_kind(language, "position"):
        (meant,) = named(scene, traits(question.text, language))
        place = position(meant)
        assert place is not None
        assert question.answer == (place if language == "en" else KOREAN_POSITIONS[place])


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", NAMES)
def test_places_can_be_asked_of_objects_named_in_one_way_alone(language: Language, name: Name):
    rng = np.random.default_rng(14)
    asked_of = [
        traits(each.text, language)
        for _ in range(100)
        for each in ask_all(sample_scene(rng), rng, language=language, placed_by=[name])
        if each.kind == "position"
    ]
    assert asked_of
    for words in asked_of:
        has = {"colour": bool({*words} & {*COLOURS}), "shape": bool({*words} & {*SHAPES})}
        assert has == {"colour": name != "shape", "shape": name != "colour"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_sizes_are_right(language: Language):
    for scene, question in of_kind(language, "size"):
        words = phrases(question.text, language)
        meant = [named(scene, each) for each in words]
        assert all(len(each) == 1 for each in meant), question
        if len(meant) == 1:
            size = meant[0][0].size
            wanted = size if language == "en" else KOREAN_SIZE_ANSWERS[size]
            assert question.answer == wanted
        else:
            bigger = max((each for (each,) in meant), key=lambda each: each.radius)
            assert canonical(question.answer) == [bigger.colour, bigger.shape], question


def said_relation(text: str, language: Language) -> str:
    if language == "en":
        return next(where for words, where in RELATIONS.items() if words in text)
    return next(where for where, word in KOREAN_RELATIONS.items() if f"{word}에" in text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_relations_are_right(language: Language):
    for scene, question in of_kind(language, "relation"):
        words = phrases(question.text, language)
        if len(words) == 1:
            (b,) = named(scene, words[0])
            (a,) = (each for each in scene.objects if each is not b)
            assert canonical(question.answer) == [a.colour, a.shape]
            assert relation(a, b) == said_relation(question.text, language), question
            continue
        first, second = (named(scene, each)[0] for each in words)
        turned = ("On which side", "Seen from", "기준으로", "에서 볼 때")
        if any(phrase in question.text for phrase in turned):
            first, second = second, first
        where = relation(first, second)
        assert question.answer == (where if language == "en" else KOREAN_RELATIONS[where])


def is_true(scene: Scene, text: str, language: Language) -> bool:
    """Answer a yes/no question again, from its words."""
    words = phrases(text, language)
    if not words:
        numbers = NUMBERS if language == "en" else KOREAN_NUMBERS
        single = re.search(r"only one|just one|single|하나|한 개", text)
        said = [n for n in range(1, 5) if re.search(rf"(?<!\w){numbers[n]} (obj|sha|개)", text)]
        return len(scene.objects) == (1 if single else said[0])
    is_related = re.search(r"left of|right of|above|below|under|(왼쪽|오른쪽|위|아래)에 ", text)
    if len(words) == 2 and len(words[0]) == len(words[1]) == 2 and is_related:
        first, second = (named(scene, each)[0] for each in words)
        if language == "ko" and re.search(r"에 \S+ \S+[이가] (있어요|보여)", text):
            first, second = second, first
        return relation(first, second) == said_relation(text, language)
    return any(set(chain(*words)) == {each.colour, each.shape} for each in scene.objects)


@pytest.mark.parametrize("language", LANGUAGES)
def test_yes_and_no_are_right(language: Language):
    yes = {"en": "yes", "ko": "네"}[language]
    for scene, question in of_kind(language, "yes_no"):
        truth = is_true(scene, question.text, language)
        assert (question.answer == yes) == truth, (question, scene)


@pytest.mark.parametrize("language", LANGUAGES)
def test_yes_and_no_are_equally_frequent(language: Language):
    answers = Counter(question.answer for _, question in of_kind(language, "yes_no"))
    total = answers.total()
    assert len(answers) == 2
    assert abs(max(answers.values()) - total / 2) < 4 * np.sqrt(total / 4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_is_asked_and_every_scene_several_times(language: Language):
    assert {question.kind for _, question in asked(language)} == set(get_args(Kind))
    assert min(Counter(id(scene) for scene, _ in asked(language)).values()) >= 5


@pytest.mark.parametrize("language", LANGUAGES)
def test_descriptions_are_the_canonical_ones(language: Language):
    for scene, question in of_kind(language, "description"):
        assert question.answer == description(scene, language=language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_form_has_at_least_four_wordings(language: Language):
    assert set(WORDINGS[language]) == set(WORDINGS["en"])
    assert all(len(set(each)) >= 4 for each in WORDINGS[language].values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_slot_or_particle_is_left_open(language: Language):
    assert not [each for _, each in asked(language) if re.search(r"[][{}]|  ", each.text)]


def test_a_name_that_two_objects_share_is_never_asked_about():
    """Two stars of different colours: no question may speak of "the star"."""
    stars = tuple(
        SceneObject(shape="star", colour=colour, size="small", x=x, y=0.5)
        for colour, x in (("red", 0.2), ("blue", 0.8))
    )
    scene = Scene(objects=stars, background=Background(kind="plain", tones=("white",)))
    rng = np.random.default_rng(0)
    texts = [each.text for _ in range(100) for each in ask_all(scene, rng, language="en")]
    assert not [
        text for text in texts if re.search(r"\bthe stars?\b", text) and "Count" not in text
    ]


@pytest.mark.parametrize(
    ("answer", "text", "wanted"),
    [
        ("red", " Red. ", True),
        ("red circle", "a red  circle", True),
        ("top left", "Top Left", True),
        ("centre", "center", True),
        ("2", "2.", True),
        ("네", "네.", True),
        ("red", "orange", False),
        ("top left", "left", False),
        ("2", "12", False),
        ("red", "red circle", False),
        ("yes", "", False),
    ],
)
def test_an_answer_is_judged_by_its_words_alone(answer: str, text: str, wanted: bool):
    question = Question(kind="colour", text="?", answer=answer, language="en")
    assert is_correct(question, text) is wanted
