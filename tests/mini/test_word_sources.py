"""Sources of words alone: texts, lookups in captions, and plans."""

import re
from typing import Any, get_args

import numpy as np
import pytest

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError
from janusflow.mini.language.questions import Kind
from janusflow.mini.language.words import Language
from janusflow.mini.scenes.naming import named_objects
from janusflow.mini.training.sources import (
    LOOKUPS_A_SAMPLE,
    PLANS_A_SAMPLE,
    KindInWords,
    SceneLookups,
    ScenePlans,
    SceneTexts,
    unrendered,
)

NOTHING = {"nothing", "없음"}
PLACED = r"an? [a-z -]+ (in|at|on) the (top|bottom|left|right|centre)( left| right)?"
PLAN = re.compile(rf"{PLACED}(, {PLACED})*( on an? .*background.*)?")


def config(**options: Any) -> SourceConfig:
    return SourceConfig(format="scenes", path="is not read", options=options)


@pytest.mark.slow
def test_texts_tell_what_places_hold_as_often_as_asked():
    rng = np.random.default_rng(0)

    def num_telling(places: float) -> int:
        ((source, _),) = unrendered(SceneTexts, config(places=places))
        texts = [source.sample(0, rng).text for _ in range(100)]
        return sum(": " in text for text in texts)

    assert num_telling(0.0) == 0
    assert num_telling(1.0) > 60


def lookups(**options: Any) -> list[tuple[str, list[str]]]:
    """Fifty captions with the answers to what is asked about them."""
    ((source, _),) = unrendered(SceneLookups, config(shapes=["ring", "star"], **options))
    rng, found = np.random.default_rng(0), []
    for _ in range(50):
        sample = source.sample(0, rng)
        caption = sample.turns[0].question.split("\n")[0]
        answers = [turn.answer for turn in sample.turns]
        assert sample.images == ()
        assert not sample.are_independent  # later turns need the caption of the first
        named = {answer.split()[-1] for answer in answers} - NOTHING
        assert named <= {"ring", "star", "고리", "별"}
        assert all(name in caption for name in named)
        found.append((caption, answers))
    return found


def test_lookups_ask_a_caption_about_its_places_without_a_image():
    for _, answers in lookups():
        assert len(answers) == 4
        assert sum(answer in NOTHING for answer in answers) == 2


def test_lookups_of_a_kind_ask_for_that_too_of_any_number_of_objects():
    found = lookups(kinds=["shape"])
    assert all(2 < len(answers) <= LOOKUPS_A_SAMPLE for _, answers in found)
    shapes = [" " not in answer for _, answers in found for answer in set(answers) - NOTHING]
    assert 20 < sum(shapes) < len(shapes) - 20  # the others name what is in a place
    assert len({len(answers) for _, answers in found}) > 1


def test_lookups_ask_nothing_that_words_leave_open():
    assert set(get_args(Kind)) - set(get_args(KindInWords)) == {"size", "relation"}
    with pytest.raises(ConfigError, match=r"kinds is 'size': wanted one of colour"):
        unrendered(SceneLookups, config(kinds=["size"]))


def test_plans_answer_a_caption_with_its_objects_in_places():
    ((source, _),) = unrendered(ScenePlans, config())
    rng = np.random.default_rng(0)
    languages: set[str] = set()
    for _ in range(50):
        sample = source.sample(0, rng)
        assert sample.images == ()
        assert sample.are_independent
        assert len(sample.turns) == PLANS_A_SAMPLE
        for turn in sample.turns:
            language: Language = "ko" if not turn.question.isascii() else "en"
            languages.add(language)
            assert turn.question.startswith("Plan: ")
            assert PLAN.fullmatch(turn.answer)
            asked = named_objects(turn.question, language=language)
            assert asked == named_objects(turn.answer, language="en")
    assert languages == {"en", "ko"}
