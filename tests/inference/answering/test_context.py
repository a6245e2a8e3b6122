"""What is longer than the model's context is refused before any work, or stops where it ends."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import ConfigError, PromptError
from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.pipeline import JanusFlow

RED = Image.new("RGB", (40, 40), "red")
TOO_LONG, CONTEXT = "a" * 1100, 1024


def schedule(jf: JanusFlow) -> None:
    scheduler = StepScheduler(jf)
    beside = scheduler.submit_question(
        [question_message([], "What?")], settings=AnsweringSettings(max_new_tokens=2)
    )
    handle = scheduler.submit_question([question_message([], TOO_LONG)])
    scheduler.run_until_idle()
    assert beside.result(0.0) == jf.ask(None, "What?", max_new_tokens=2)
    handle.result(0.0)


REFUSED: list[Callable[[JanusFlow], Any]] = [
    lambda jf: jf.ask(None, TOO_LONG),
    lambda jf: jf.ask([RED] * 60, "What?"),
    lambda jf: jf.ask(None, ["What?", TOO_LONG]),
    lambda jf: jf.answer([[question_message([], TOO_LONG)]]),
    lambda jf: jf.stream([question_message([], TOO_LONG)]),
    lambda jf: jf.log_likelihood(RED, TOO_LONG, "yes"),
    lambda jf: jf.log_likelihood(RED, "What?", TOO_LONG),
    lambda jf: jf.plan([TOO_LONG], [0]),
]


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_too_long_is_refused_in_one_line_before_any_work(
    jf: JanusFlow, call: Callable[[JanusFlow], Any], llm_count: Any
):
    with pytest.raises(PromptError, match=rf"has \d+ tokens.* reads {CONTEXT}") as refusal:
        call(jf)
    assert "\n" not in str(refusal.value)
    assert llm_count.calls == 0


def test_a_scheduler_refuses_what_is_too_long_alone(jf: JanusFlow):
    with pytest.raises(PromptError, match=str(CONTEXT)):
        schedule(jf)


@pytest.mark.parametrize("room", [0, 1, 4])
def test_an_answer_stops_where_the_context_ends(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch, room: int
):
    monkeypatch.setattr(jf.model.config, "eos_token_id", -1)
    asked = [question_message([], "What is it?")]
    length = int(jf.processor.conversations([asked]).attention_mask.sum())
    monkeypatch.setattr(jf.model.config.llm_config, "max_position_embeddings", length + room)
    if room == 0:
        with pytest.raises(PromptError, match=f"has {length} tokens"):
            jf.answer([asked])
        return
    request = QuestionRequest(messages=asked, settings=AnsweringSettings(), seed=0)
    batch = AnswerBatch(jf.model, jf.processor)
    batch.add(jf.prepare_inputs([asked], allow_paths=False), [request])
    while batch.answers:
        batch.choose()
        batch.read()
    assert len(request.token_ids) == room
    assert request.progress == 1.0


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ({"max_tokens": 5}, "no argument max_tokens: it is max_new_tokens here"),
        ({"max_length": 5}, "it is max_new_tokens"),
        ({"do_sample": True}, "do_sample: it is temperature"),
        ({"num_beams": 3}, r"num_beams: jf\.model\.generate"),
        ({"temprature": 1.0}, "temprature: use temperature if you meant that"),
    ],
)
def test_arguments_of_other_libraries_are_refused_with_their_names_here(
    jf: JanusFlow, argument: dict[str, Any], reason: str
):
    messages = [question_message([], "What?")]
    for call in (
        lambda: jf.ask(None, "What?", **argument),
        lambda: jf.answer([messages], **argument),
        lambda: jf.stream(messages, **argument),
    ):
        with pytest.raises(ConfigError, match=reason):
            call()
