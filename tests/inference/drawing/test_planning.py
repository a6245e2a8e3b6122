"""Planning: every image has a plan of its own, drawn as if it were the prompt."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.inference.drawing.planning import plans_first
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.processing.templates import planning_question

PROMPT = "a red circle"


@pytest.fixture
def planner(jf: JanusFlow) -> Iterator[JanusFlow]:
    """The tiny model, said to have learnt to plan; its plans are whatever random weights say."""
    jf.model.config.plans = True
    yield jf
    jf.model.config.plans = False


def drawn(jf: JanusFlow, prompt: str | Sequence[str], **settings: Any) -> list[Image.Image]:
    return jf.generate(prompt, steps=2, **settings)


def test_images_are_planned_side_by_side_each_from_its_prompt_and_seed(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    calls: list[int] = []

    def plan(prompts: list[str], seeds: list[int]) -> list[str]:
        calls.append(len(prompts))
        return [f"{prompt} {seed}" for prompt, seed in zip(prompts, seeds, strict=True)]

    monkeypatch.setattr(jf.model.config, "plans", True)
    monkeypatch.setattr(jf, "plan", plan)
    images = jf.generate(["one", "two"], seed=[7, 1_000_007], steps=1)
    assert [image.info["plan"] for image in images] == ["one 7", "two 1000007"]
    assert calls == [2]


def test_an_empty_plan_leaves_the_prompt(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jf, "_answer", lambda questions, *_: [""] * len(questions))
    assert jf.plan([PROMPT, "a star"], [0, 1]) == [PROMPT, "a star"]


def test_the_planning_question_reads_as_a_question_without_system_prompt(jf: JanusFlow):
    question = planning_question("파란 별")
    asked = [{"role": "system", "content": ""}, {"role": "user", "content": question}]
    (as_prompt,), (as_conversation,) = (
        jf.prepare_inputs([each], allow_paths=False)["input_ids"].tolist()
        for each in (question, asked)
    )
    assert as_prompt == as_conversation


@pytest.mark.parametrize(
    ("plan", "has_learnt", "has_init_image", "is_planned"),
    [
        ("auto", True, False, True),
        ("auto", True, True, False),
        ("auto", False, False, False),
        ("always", True, True, True),
        ("never", True, False, False),
    ],
)
def test_auto_plans_where_the_model_has_learnt_to_and_nothing_is_there_yet(
    plan: str, has_learnt: bool, has_init_image: bool, is_planned: bool
):
    settings = DrawingSettings(plan=plan)
    found = plans_first(settings, has_learnt=has_learnt, has_init_image=has_init_image)
    assert found == is_planned


def test_a_model_that_cannot_plan_refuses_to(jf: JanusFlow):
    with pytest.raises(ConfigError, match="plan=always with a model that has not learnt to plan"):
        drawn(jf, PROMPT, plan="always")
    with pytest.raises(ConfigError, match=r"plan='often' is unknown\. Use one of: auto, always"):
        drawn(jf, PROMPT, plan="often")


def test_what_is_drawn_is_the_plan_and_the_record_has_both(planner: JanusFlow):
    (image,) = drawn(planner, PROMPT, seed=3)
    plan = image.info["plan"]
    assert image.info["prompt"] == PROMPT
    assert plan not in (None, PROMPT)
    (again,) = drawn(planner, plan, seed=3, plan="never")
    assert again.tobytes() == image.tobytes()
    (otherwise,) = drawn(planner, PROMPT, seed=3, plan="never")
    assert otherwise.tobytes() != image.tobytes()
    assert otherwise.info["plan"] is None


def test_every_image_of_a_prompt_has_a_plan_of_its_own(planner: JanusFlow):
    images = drawn(planner, [PROMPT, "파란 별"], num_images=2, seed=5)
    assert [image.info["prompt"] for image in images] == [PROMPT] * 2 + ["파란 별"] * 2
    assert len({image.info["plan"] for image in images}) == len(images)
    (alone,) = drawn(planner, "파란 별", seed=8)
    assert alone.info["plan"] == images[-1].info["plan"]


def test_an_image_to_start_from_needs_no_plan(planner: JanusFlow):
    size = planner.image_size
    start = Image.new("RGB", (size, size), "white")
    (varied,) = drawn(planner, PROMPT, seed=0, init_image=start, strength=0.5)
    assert varied.info["plan"] is None
