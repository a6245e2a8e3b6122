"""The scheduler seen from other threads: submitting, waiting, cancelling, refusing."""

import asyncio
import threading
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from same_images import difference

from janusflow.config.errors import BusyError, ConfigError, PromptError
from janusflow.inference.answering import answers
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching import image_batcher
from janusflow.inference.batching.image_batcher import PLAN_TOKENS_PER_STEP
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

QUICK = DrawingSettings(steps=3, guidance=1.0)
ENDLESS = DrawingSettings(steps=3_000)


def test_threads_submit_and_wait_while_another_one_steps(jf: JanusFlow):
    images: dict[int, Image.Image] = {}
    told: dict[int, str] = {}
    question = [question_message([], "What?")]
    scheduler = StepScheduler(jf, max_images=3)

    def ask_both(seed: int) -> None:
        drawing = scheduler.submit_drawing("a star", seed=seed, settings=QUICK)
        answer = scheduler.submit_question(question, settings=AnsweringSettings(max_new_tokens=4))
        (images[seed],) = drawing.result(60.0)
        told[seed] = answer.result(60.0)

    threads = [threading.Thread(target=ask_both, args=[seed]) for seed in range(6)]
    with scheduler.running():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for seed in range(6):
        (alone,) = jf.generate("a star", seed=seed, steps=3, guidance=1.0)
        assert difference(images[seed], alone) <= 1
    assert set(told.values()) == {jf.ask(None, "What?", max_new_tokens=4)}


def test_a_result_can_be_awaited(jf: JanusFlow):
    scheduler = StepScheduler(jf)

    async def draw() -> int:
        handle = scheduler.submit_drawing("a star", num_images=2, settings=QUICK)
        return len(await asyncio.wrap_future(handle))

    with scheduler.running():
        assert asyncio.run(draw()) == 2


def test_what_is_left_when_the_thread_stops_is_cancelled(jf: JanusFlow):
    scheduler = StepScheduler(jf, max_images=1)
    with scheduler.running():
        begun = scheduler.submit_drawing("a star", settings=ENDLESS)
        waits = scheduler.submit_drawing("a star", settings=ENDLESS)
        while begun.progress == 0.0:
            assert not begun.done()
    for handle in (begun, waits):
        with pytest.raises(CancelledError):
            handle.result(0.0)
    assert not scheduler.step()


def test_a_result_that_is_not_there_yet_can_be_waited_for_a_while(jf: JanusFlow):
    handle = StepScheduler(jf).submit_drawing("a star", settings=QUICK)
    with pytest.raises(TimeoutError):
        handle.result(0.01)


def test_more_than_may_wait_is_refused_until_there_is_room(jf: JanusFlow):
    scheduler = StepScheduler(jf, max_images=1, max_waiting=2)
    accepted = [scheduler.submit_drawing("a star", settings=QUICK) for _ in range(2)]
    with pytest.raises(BusyError, match="max_waiting=2"):
        scheduler.submit_drawing("a star", settings=QUICK)
    scheduler.step()  # one of them is in flight now
    accepted.append(scheduler.submit_drawing("a star", settings=QUICK))
    assert scheduler.num_waiting == 2
    accepted[1].cancel()
    scheduler.step()
    accepted.append(scheduler.submit_drawing("a star", settings=QUICK))
    scheduler.run_until_idle()
    assert all(handle.done() for handle in accepted)


def test_neither_drawings_nor_questions_fill_the_line_of_the_others(jf: JanusFlow):
    scheduler = StepScheduler(jf, max_waiting=1)
    question = [question_message([], "What?")]
    short = AnsweringSettings(max_new_tokens=2)
    handles = [
        scheduler.submit_drawing("a star", settings=QUICK),
        scheduler.submit_question(question, settings=short),
    ]
    with pytest.raises(BusyError, match="1 drawings wait, max_waiting=1"):
        scheduler.submit_drawing("a star", settings=QUICK)
    with pytest.raises(BusyError, match="1 questions wait, max_waiting=1"):
        scheduler.submit_question(question, settings=short)
    scheduler.run_until_idle()
    assert all(handle.done() for handle in handles)


def test_what_cannot_be_right_is_refused_at_once(jf: JanusFlow):
    scheduler = StepScheduler(jf)
    with pytest.raises(PromptError, match="0 prompts"):
        scheduler.submit_drawing([])
    with pytest.raises(ConfigError, match="seed=-1"):
        scheduler.submit_question([question_message([], "What?")], seed=-1)
    assert scheduler.num_waiting == 0


@pytest.mark.parametrize("name", ["max_images", "max_questions", "max_waiting", "tokens_per_step"])
def test_limits_below_1_are_refused(jf: JanusFlow, name: str):
    wrong: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigError, match=f"{name}=0"):
        StepScheduler(jf, **wrong)


@pytest.mark.slow
def test_plans_and_the_best_of_several_are_what_they_are_alone(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(jf.model.config, "plans", True)
    scheduler = StepScheduler(jf, max_images=3)
    asked = {"steps": 2, "guidance": 1.0, "best_of": 2}
    handles = [
        scheduler.submit_drawing(
            "a star", num_images=2, seed=seed, settings=DrawingSettings(**asked)
        )
        for seed in (3, 8)
    ]
    scheduler.run_until_idle()
    for handle, seed in zip(handles, (3, 8), strict=True):
        alone = jf.generate("a star", num_images=2, seed=seed, **asked)
        for image, same in zip(handle.result(0.0), alone, strict=True):
            assert image.info == same.info
            assert image.info["plan"] is not None
            assert difference(image, same) <= 1


@pytest.fixture
def token_reads(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every read of one more token; the tiny model has learnt to plan, it is said."""
    monkeypatch.setattr(jf.model.config, "plans", True)
    reads: list[int] = []
    read_tokens = answers.read_tokens

    def counted(model: Any, inputs: Any, cache: Any = None) -> Any:
        reads.extend([] if cache is None else [len(inputs["input_ids"])])
        return read_tokens(model, inputs, cache)

    monkeypatch.setattr(answers, "read_tokens", counted)
    return reads


@pytest.mark.slow
def test_plans_are_written_side_by_side_while_others_draw(jf: JanusFlow, token_reads: list[int]):
    steps: list[int] = []
    unplanned = DrawingSettings(steps=200, guidance=1.0, plan="never")
    scheduler = StepScheduler(jf)
    scheduler.submit_drawing(
        "a star", settings=unplanned, on_step=lambda step: steps.append(step.index)
    )
    scheduler.step()
    planned = [scheduler.submit_drawing("a ring", seed=i, settings=QUICK) for i in (1, 2)]
    while planned[0].progress == 0.0:
        reads, drawn = len(token_reads), len(steps)
        scheduler.step()
        assert len(token_reads) - reads <= PLAN_TOKENS_PER_STEP
        assert len(steps) == drawn + 1
    assert len(steps) > 2
    assert max(token_reads) == 2


def test_a_plan_that_is_called_off_is_not_written_on(jf: JanusFlow, token_reads: list[int]):
    scheduler = StepScheduler(jf)
    handle = scheduler.submit_drawing("a ring", seed=1, settings=QUICK)
    scheduler.step()
    scheduler.step()
    assert token_reads
    assert handle.cancel()
    reads = len(token_reads)
    assert not scheduler.step()
    assert len(token_reads) == reads


def test_a_plan_that_fails_is_the_error_of_its_drawing_alone(
    jf: JanusFlow, token_reads: list[int], monkeypatch: pytest.MonkeyPatch
):
    unknown_role = [{"role": "planner", "content": "a ring"}]
    monkeypatch.setattr(image_batcher, "planning_question", lambda _: unknown_role)
    scheduler = StepScheduler(jf)
    wrong = scheduler.submit_drawing("a ring", settings=QUICK)
    right = scheduler.submit_drawing("a star", settings=replace(QUICK, plan="never"))
    scheduler.run_until_idle()
    assert len(right.result(0.0)) == 1
    with pytest.raises(PromptError):
        wrong.result(0.0)
    assert not token_reads


def test_guidance_over_time_is_what_it_is_alone(jf: JanusFlow):
    scheduler = StepScheduler(jf)
    guided = DrawingSettings(steps=5, guidance="3@0.1-0.7", guidance_rescale=0.5, grid="cosine")
    handle = scheduler.submit_drawing("a star", seed=4, settings=guided)
    other = scheduler.submit_drawing("a ring", seed=5, settings=QUICK)
    scheduler.run_until_idle()
    (alone,) = jf.generate(
        "a star", seed=4, steps=5, guidance="3@0.1-0.7", guidance_rescale=0.5, grid="cosine"
    )
    assert difference(handle.result(0.0)[0], alone) <= 1
    (alone,) = jf.generate("a ring", seed=5, steps=3, guidance=1.0)
    assert difference(other.result(0.0)[0], alone) <= 1


def test_foretold_velocities_are_those_of_the_image_alone_and_save_the_same_work(
    jf: JanusFlow, llm_count: Any
):
    foretelling = DrawingSettings(steps=8, guidance="3@0-0.5", reuse=1.0)
    (alone,) = jf.generate("a star", seed=4, steps=8, guidance="3@0-0.5", reuse=1.0)
    calls, positions = llm_count.calls, llm_count.positions
    scheduler = StepScheduler(jf)
    handle = scheduler.submit_drawing("a star", seed=4, settings=foretelling)
    scheduler.run_until_idle()
    assert (llm_count.calls, llm_count.positions) == (2 * calls, 2 * positions)
    assert calls == 1 + 5  # the prompt, and of eight velocities those at steps 0, 1, 2, 4 and 6
    assert difference(handle.result(0.0)[0], alone) <= 1
    other = scheduler.submit_drawing("a ring", seed=5, settings=QUICK)
    beside = scheduler.submit_drawing("a star", seed=4, settings=foretelling)
    scheduler.run_until_idle()
    assert difference(beside.result(0.0)[0], alone) <= 1
    assert (
        difference(other.result(0.0)[0], jf.generate("a ring", seed=5, steps=3, guidance=1.0)[0])
        <= 1
    )
