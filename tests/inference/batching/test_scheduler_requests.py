"""Plans given, told and made alone; calls between steps; counts and what every step tells."""

from dataclasses import replace
from typing import Any

import pytest
from same_images import difference

from janusflow.config.errors import BusyError, ConfigError, PromptError
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching import image_batcher
from janusflow.inference.batching import scheduler as module
from janusflow.inference.batching.counts import BatchInfo
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.planning import HOW
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

QUICK = DrawingSettings(steps=2, guidance=1.0)


@pytest.fixture
def planner(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> JanusFlow:
    """It has learnt to plan, it is said, in a few words."""
    monkeypatch.setattr(jf.model.config, "plans", True)
    for each in (module, image_batcher):
        monkeypatch.setattr(each, "HOW", replace(HOW, max_new_tokens=6))
    monkeypatch.setattr("janusflow.inference.pipeline.HOW", replace(HOW, max_new_tokens=6))
    return jf


def test_given_plans_are_drawn_and_recorded_and_no_plan_is_made(planner: JanusFlow, llm_count: Any):
    scheduler = StepScheduler(planner)
    told: list[list[str]] = []
    given: dict[str, Any] = {"seed": 3, "settings": QUICK}
    drawn = scheduler.submit_drawing(
        ["a star", "a ring"], plans=["star: left", ""], num_images=2, on_plan=told.append, **given
    )
    scheduler.run_until_idle()
    assert scheduler.counts.tokens_written == 0
    plain = scheduler.submit_drawing("star: left", seed=3, settings=replace(QUICK, plan="never"))
    scheduler.run_until_idle()
    images = drawn.result(0.0)
    assert [image.info["prompt"] for image in images] == ["a star"] * 2 + ["a ring"] * 2
    assert [each.plan for each in drawn.records] == ["star: left"] * 2 + ["a ring"] * 2
    assert [image.info["plan"] for image in images] == [each.plan for each in drawn.records]
    assert told == []
    assert difference(images[0], plain.result(0.0)[0]) <= 1


def test_plans_that_the_model_makes_are_told_and_are_those_of_submit_plan(planner: JanusFlow):
    scheduler = StepScheduler(planner)
    told: list[list[str]] = []
    drawn = scheduler.submit_drawing(
        "a star", num_images=2, seed=5, settings=QUICK, on_plan=told.append
    )
    plans = [scheduler.submit_plan("a star", seed=seed) for seed in (5, 6)]
    scheduler.run_until_idle()
    made = [each.result(0.0) or "a star" for each in plans]
    assert told == [made] == [[each.plan for each in drawn.records]]
    assert made == planner.plan(["a star"] * 2, [5, 6])


def test_wrong_plans_are_refused(jf: JanusFlow):
    scheduler = StepScheduler(jf)
    with pytest.raises(PromptError, match="1 plans for 2 prompts"):
        scheduler.submit_drawing(["a", "b"], plans=["c"])
    with pytest.raises(ConfigError, match="not learnt to plan"):
        scheduler.submit_plan("a star")


def test_one_call_is_made_a_step_and_images_go_on(jf: JanusFlow):
    scheduler, order = StepScheduler(jf, max_waiting=4), list[int]()
    drawn = scheduler.submit_drawing("a star", settings=replace(QUICK, steps=4, plan="never"))

    def call(number: int) -> int:
        order.append(number)
        return 10 // number

    handles = [scheduler.submit_call(lambda number=number: call(number)) for number in (1, 0, 2, 3)]
    with pytest.raises(BusyError, match="4 calls wait"):
        scheduler.submit_call(lambda: 0)
    handles[2].cancel()
    scheduler.step()
    assert order == [1]
    scheduler.step()
    assert order == [1, 0]
    assert 0 < drawn.progress < 1
    scheduler.run_until_idle()
    assert order == [1, 0, 3]
    assert (handles[0].result(0.0), handles[3].result(0.0)) == (10, 3)
    with pytest.raises(ZeroDivisionError):
        handles[1].result(0.0)
    assert len(drawn.result(0.0)) == 1


def test_counts_and_batches_tell_what_was_done(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jf.model.config, "eos_token_id", -1)
    scheduler, batches = StepScheduler(jf, max_images=2, max_questions=1), list[BatchInfo]()
    scheduler.on_batch = batches.append
    settings = replace(QUICK, plan="never")
    scheduler.submit_drawing("a star", num_images=3, settings=settings)
    asked = [question_message([], "What?")]
    for _ in range(2):
        scheduler.submit_question(asked, settings=AnsweringSettings(max_new_tokens=3))
    before = scheduler.counts
    assert (before.waiting_images, before.waiting_questions) == (3, 2)
    scheduler.step()
    during = scheduler.counts
    assert (during.running_images, during.waiting_images) == (2, 1)
    assert (during.running_questions, during.waiting_questions) == (1, 1)
    assert (during.steps, during.tokens_written) == (1, 1)
    scheduler.run_until_idle()
    after = scheduler.counts
    assert (after.steps, after.finished_images, after.tokens_written) == (4, 3, 6)
    assert (after.running_images, after.running_questions) == (0, 0)
    assert after.prompt_tokens_reused == jf.processor.conversations([asked]).input_ids.numel()
    assert after.reuse_hits == 1
    assert [each.images for each in batches] == [2, 2, 1, 1, 0, 0]
    assert [each.answers for each in batches] == [1] * 6
    assert all(each.seconds > 0 for each in batches)
