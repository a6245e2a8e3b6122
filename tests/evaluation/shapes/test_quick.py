"""Quick scores: what true renders and true answers get, and what others get."""

from typing import Any

import pytest
from PIL import Image

import janusflow
from janusflow.evaluation.shapes.prompts import CATEGORIES, questioned_scenes, shape_prompts
from janusflow.evaluation.shapes.quick import quick_scores
from janusflow.mini.scenes.render import render

NUMBER, SEED = 3, 7


def test_true_renders_and_answers_are_all_right_and_empty_ones_all_wrong(
    monkeypatch: pytest.MonkeyPatch,
):
    jf = janusflow.load("mini")
    shown = {
        prompt.text(language): render(prompt.scene)
        for category in CATEGORIES
        for prompt in shape_prompts(category, NUMBER, seed=SEED)
        for language in ("en", "ko")
    }
    num_questions = NUMBER * len(CATEGORIES) * 2
    asked = questioned_scenes(num_questions, seed=SEED, size=jf.image_size)
    told = {question.text: question.answer for _, question in asked}
    drawn: list[tuple[int, Any]] = []

    def draw(prompts: list[str], *, seed: list[int], **settings: Any) -> list[Image.Image]:
        drawn.append((len(prompts), settings))
        assert len(set(seed)) == len(prompts)
        return [shown[text] for text in prompts]

    monkeypatch.setattr(jf, "generate", draw)
    monkeypatch.setattr(jf, "ask", lambda _images, questions, **_: [told[q] for q in questions])
    found = quick_scores(jf, NUMBER, seed=SEED, languages=("en", "ko"), steps=4)
    # A question may occur twice, about other scenes with other answers.
    again = sum(told[question.text] == question.answer for _, question in asked) / num_questions
    assert found == dict.fromkeys(CATEGORIES, 1.0) | {"questions": again}
    assert again > 0.8
    assert drawn == [(NUMBER, {"steps": 4})] * 2 * len(CATEGORIES)
    blank = Image.new("RGB", (64, 64), "white")
    monkeypatch.setattr(jf, "generate", lambda prompts, **_: [blank] * len(prompts))
    monkeypatch.setattr(jf, "ask", lambda _images, questions, **_: [""] * len(questions))
    found = quick_scores(jf, NUMBER, seed=SEED, categories=("single", "two"))
    assert found == {"single": 0.0, "two": 0.0, "questions": 0.0}
