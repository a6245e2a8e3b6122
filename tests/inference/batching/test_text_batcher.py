"""Answers that grow side by side, beside images: each as if alone, a token a step."""

from typing import Any

import pytest
from PIL import Image

import janusflow
from janusflow.config.errors import PromptError
from janusflow.inference.answering.chat import Message, question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

NO_TOKEN = -1
RED, BLUE = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (50, 30), "blue")
QUESTIONS: list[tuple[list[Any], str, dict[str, Any]]] = [
    ([RED], "What is it?", {"max_new_tokens": 12}),
    ([], "쓰세요.", {"max_new_tokens": 7, "temperature": 1.0}),
    ([RED, BLUE], "Which of the two is red, and which is blue?", {"max_new_tokens": 9}),
    ([BLUE], "색은?", {"max_new_tokens": 12, "temperature": 0.7, "top_p": 0.9}),
]


def asked(text: str = "What?", images: list[Any] | None = None) -> list[Message]:
    return [question_message(images or [], text)]


def longest(num_tokens: int) -> AnsweringSettings:
    return AnsweringSettings(max_new_tokens=num_tokens)


def check_answers(jf: JanusFlow) -> None:
    """Each question a step after the one before, two at most side by side, beside images."""
    scheduler = StepScheduler(jf, max_questions=2)
    scheduler.submit_drawing("a star", num_images=2, settings=DrawingSettings(steps=9))
    handles = []
    for images, text, chosen in QUESTIONS:
        handles.append(
            scheduler.submit_question(
                asked(text, images), settings=AnsweringSettings(**chosen), seed=4
            )
        )
        scheduler.step()
    scheduler.run_until_idle()
    for (images, text, chosen), handle in zip(QUESTIONS, handles, strict=True):
        assert handle.result(0.0) == jf.ask(images, text, seed=4, **chosen)


@pytest.mark.slow
def test_minis_answers_are_those_of_ask():
    check_answers(janusflow.load("mini"))


@pytest.fixture
def endless(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> JanusFlow:
    """Its answers are as long as they may be."""
    monkeypatch.setattr(jf.model.config, "eos_token_id", NO_TOKEN)
    return jf


def test_answers_of_random_weights_are_those_of_ask(endless: JanusFlow):
    """They run to their ends, where mini stops after a word."""
    check_answers(endless)


@pytest.mark.parametrize("tokens_per_step", [1, 3])
def test_a_question_gets_its_tokens_while_images_are_in_flight(
    endless: JanusFlow, tokens_per_step: int
):
    scheduler = StepScheduler(endless, tokens_per_step=tokens_per_step)
    drawing = scheduler.submit_drawing("a star", settings=DrawingSettings(steps=8))
    question = scheduler.submit_question(asked(), settings=longest(16))
    tokens = []
    for _ in range(4):
        scheduler.step()
        tokens.append(round(16 * question.progress))
    assert tokens == [tokens_per_step * i for i in range(1, 5)]
    assert 0 < drawing.progress < 1
    scheduler.run_until_idle()
    assert drawing.done()
    assert question.done()


def test_answers_share_forwards_and_leave_when_they_are_done(endless: JanusFlow, llm_count: Any):
    """The first token comes from reading, each further one from a forward shared by all."""
    scheduler = StepScheduler(endless, reuse_bytes=0)
    for num_tokens in (3, 5, 2):
        scheduler.submit_question(asked(), settings=longest(num_tokens))
    scheduler.run_until_idle()
    length = endless.processor.conversations([asked()]).input_ids.shape[1]
    assert llm_count.calls == 3 + 4
    assert llm_count.positions == 3 * length + (2 + 4 + 1)


def test_a_shared_cache_does_not_grow_over_a_stream_of_questions(endless: JanusFlow):
    """At every moment two are open, so it is never empty; it holds what the longer one needs."""
    scheduler = StepScheduler(endless)
    length = endless.processor.conversations([asked()]).input_ids.shape[1]
    for _ in range(12):
        scheduler.submit_question(asked(), settings=longest(6))
        for _ in range(3):
            scheduler.step()
        (batch,) = scheduler._answering._batches.values()
        context = batch._cache
        assert context is not None
        assert context.attention_mask.shape[1] <= length + 6
    scheduler.run_until_idle()
    assert not scheduler._answering._batches


def test_a_cancelled_answer_stops_and_the_others_go_on(endless: JanusFlow, llm_count: Any):
    scheduler = StepScheduler(endless)
    leaves = scheduler.submit_question(asked(), settings=longest(50))
    stays = scheduler.submit_question(asked("쓰세요."), settings=longest(6))
    scheduler.step()
    scheduler.step()
    leaves.cancel()
    before = llm_count.positions
    scheduler.run_until_idle()
    assert (
        llm_count.positions == before + 3
    )  # tokens 3 to 5 of the one that stays; nobody reads the last
    assert stays.result(0.0) == endless.ask(None, "쓰세요.", max_new_tokens=6)


def test_pieces_come_as_tokens_do_and_join_to_the_answer(endless: JanusFlow):
    pieces: list[str] = []
    scheduler = StepScheduler(endless)
    handle = scheduler.submit_question(asked(), settings=longest(10), on_piece=pieces.append)
    while not pieces:
        scheduler.step()
    assert not handle.done()
    scheduler.run_until_idle()
    assert "".join(pieces).strip() == handle.result(0.0)
    assert pieces == list(endless.stream(asked(), max_new_tokens=10))


def test_a_question_that_fails_fails_alone(jf: JanusFlow):
    scheduler = StepScheduler(jf)
    good = scheduler.submit_question(asked(), settings=longest(3))
    bad = scheduler.submit_question([{"role": "nobody", "content": "What?"}])
    secret = scheduler.submit_question(asked("What?", ["/a/file.png"]), allow_paths=False)
    scheduler.run_until_idle()
    with pytest.raises(PromptError, match="nobody"):
        bad.result(0.0)
    with pytest.raises(PromptError, match="file path"):
        secret.result(0.0)
    assert good.result(0.0) == jf.ask(None, "What?", max_new_tokens=3)
