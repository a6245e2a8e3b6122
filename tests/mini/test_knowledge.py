"""What mini says it knows: all that it was taught, and little else."""

import unicodedata

import numpy as np
import pytest

from janusflow.mini.knowledge import limits
from janusflow.mini.language.captions import caption, description, planned_caption
from janusflow.mini.language.words import LANGUAGES, Language
from janusflow.mini.scenes.scene import sample_scene


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_no_caption_that_mini_learns_is_beyond_it(language: Language):
    for seed in range(300):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng, num_objects=1 + seed % 4, split="train")
        texts = [caption(scene, rng, language=language), description(scene, language=language)]
        planned = planned_caption(scene, rng, language=language, placed=0.5, plain=0.3)
        texts += [] if planned is None else [planned.text, planned.plan]
        assert [limits(text) for text in texts] == [None] * len(texts), texts


@pytest.mark.parametrize(
    ("prompt", "strange"),
    [
        ("a red dragon", "'dragon'"),
        ("a photo of two cats", "'photo', 'cats'"),
        ("빨간 용과 파란 별", "'용과'"),
        ("원숭이", "'원숭이'"),
        ("红色的圆", "'红色的圆'"),
    ],
)
def test_words_that_mini_never_saw_are_named(prompt: str, strange: str):
    line = limits(prompt)
    assert line is not None
    assert f"and not {strange};" in line
    assert "9 shapes (circle," in line


def test_korean_is_known_in_any_unicode_form():
    assert limits(unicodedata.normalize("NFD", "노란 별 두 개")) is None
