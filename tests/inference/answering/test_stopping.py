"""Where answers end and what is told of them: stop texts, reasons, probabilities of tokens."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import tiny_processor

from janusflow.config.errors import ConfigError
from janusflow.inference.answering import answers as module
from janusflow.inference.answering.answers import QuestionRequest, TextStream
from janusflow.inference.answering.chat import Message, question_message
from janusflow.inference.answering.decoding import AnsweringSettings, settings_of
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.pipeline import JanusFlow

ASKED: list[Message] = [question_message([], "What?")]


@pytest.fixture
def endless(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> JanusFlow:
    """Its answers are as long as they may be."""
    monkeypatch.setattr(jf.model.config, "eos_token_id", -1)
    return jf


def answered(jf: JanusFlow, *, seed: int = 3, **chosen: Any) -> QuestionRequest:
    scheduler = StepScheduler(jf)
    request = scheduler.submit_question(ASKED, settings=AnsweringSettings(**chosen), seed=seed)
    scheduler.run_until_idle()
    return request


def cut(text: str, stops: list[str]) -> str:
    """What is before the first stop text once one is complete, its characters coming one by one."""
    for length in range(len(text) + 1):
        places = [place for stop in stops if (place := text.find(stop, 0, length)) >= 0]
        if places:
            return text[: min(places)]
    return text


WORDS = st.text("ab가 \n", min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.text("ab가 \n", max_size=12), st.lists(WORDS, max_size=3))
def test_pieces_end_before_the_first_stop_text_and_hold_back_nothing_else(
    text: str, stops: list[str]
):
    processor = tiny_processor()  # its tokens are bytes
    ids = processor.tokenizer.encode(text, add_special_tokens=False)
    stream, pieces = TextStream(processor, stops), []
    for number in range(1, len(ids) + 1):
        pieces.append(stream.piece(ids[:number], is_last=number == len(ids)))
        if stream.is_stopped:
            break
        whole = processor.decode(ids[:number]).rstrip("\ufffd").lstrip()
        held = whole[len(stream.text) :]
        assert not held or any(stop.startswith(held) for stop in stops)
    expected = cut(text.lstrip(), stops)
    assert "".join(pieces) == stream.text == expected
    assert stream.is_stopped == (expected != text.lstrip())


def test_an_answer_ends_at_a_stop_text_and_leaves_the_forwards(endless: JanusFlow, llm_count: Any):
    chosen: dict[str, Any] = {"max_new_tokens": 30, "temperature": 1.5}
    free = answered(endless, **chosen)
    whole, before = free.result(0.0), llm_count.positions
    stop = whole[8:10]
    pieces: list[str] = []
    request = answered(endless, stop=(stop,), **chosen)
    assert request.result(0.0) == cut(whole, [stop]).strip() != whole
    assert request.finish_reason == "stop"
    assert request.token_ids == free.token_ids[: len(request.token_ids)]
    # The conversation, and every token but the last.
    read = llm_count.positions - before
    assert read == request.num_prompt_tokens + len(request.token_ids) - 1
    assert len(request.token_ids) < 30
    pieces = list(endless.stream(ASKED, seed=3, stop=stop, **chosen))
    assert "".join(pieces).strip() == request.result(0.0)
    asked = endless.ask(None, "What?", seed=3, stop=["nowhere to be found", stop], **chosen)
    assert asked == request.result(0.0)


def test_the_reason_is_length_where_an_answer_is_cut_and_stop_at_its_end_token(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    free = answered(endless, max_new_tokens=6)
    assert (free.finish_reason, len(free.token_ids)) == ("length", 6)
    assert free.num_prompt_tokens == endless.processor.conversations([ASKED]).input_ids.shape[1]
    monkeypatch.setattr(endless.model.config, "eos_token_id", free.token_ids[-1])
    ended = answered(endless, max_new_tokens=30)
    assert (ended.finish_reason, ended.token_ids) == (
        "stop",
        free.token_ids[: free.token_ids.index(free.token_ids[-1])],
    )


def test_a_stop_text_at_the_last_token_counts_as_stop(endless: JanusFlow):
    free = answered(endless, max_new_tokens=12)
    for length in range(1, 13):
        text = endless.processor.decode(free.token_ids[:length]).lstrip()
        if text and not text.endswith("\ufffd"):
            ended = answered(endless, max_new_tokens=length, stop=(text,))
            assert (ended.finish_reason, ended.result(0.0)) == ("stop", "")
            return
    pytest.fail("the answer has no whole character")


@pytest.mark.parametrize("chosen", [{}, {"temperature": 1.5, "top_p": 0.9}])
def test_logprobs_are_those_of_reading_the_answer_at_once(
    endless: JanusFlow, chosen: dict[str, Any]
):
    """Of the model's distribution: neither temperature nor top_p changes them."""
    request = answered(endless, max_new_tokens=5, logprobs=4, **chosen)
    prompt = endless.processor.conversations([ASKED]).input_ids
    ids = torch.tensor([request.token_ids])
    with torch.no_grad():
        logits = endless.model(torch.cat([prompt, ids], dim=1)).logits[0, -6:-1]
    expected = logits.float().log_softmax(-1)
    assert [each.token_id for each in request.logprobs] == request.token_ids
    for told, row in zip(request.logprobs, expected, strict=True):
        assert told.logprob == pytest.approx(float(row[told.token_id]), abs=1e-4)
        likeliest = row.topk(4)
        assert [each.token_id for each in told.top] == likeliest.indices.tolist()
        assert [each.logprob for each in told.top] == pytest.approx(
            likeliest.values.tolist(), abs=1e-4
        )
        assert told.text == endless.processor.decode([told.token_id])
    if not chosen:
        assert all(each.top[0].token_id == each.token_id for each in request.logprobs)


def test_logprobs_are_computed_for_nobody_who_does_not_ask(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    calls: list[int] = []
    real = module.logprobs_of
    monkeypatch.setattr(
        module, "logprobs_of", lambda *given: calls.append(given[1]) or real(*given)
    )
    scheduler = StepScheduler(endless)
    settings = [AnsweringSettings(max_new_tokens=4, logprobs=each) for each in (None, 0)]
    silent, asks = (scheduler.submit_question(ASKED, settings=each) for each in settings)
    scheduler.run_until_idle()
    assert silent.logprobs == []
    assert calls == asks.token_ids == silent.token_ids
    assert [each.top for each in asks.logprobs] == [()] * 4


@pytest.mark.parametrize(
    ("chosen", "reason"),
    [
        ({"stop": ""}, "stop=''"),
        ({"stop": ["a", ""]}, "stop=\\['a', ''\\]"),
    ],
)
def test_settings_that_end_nothing_are_refused(jf: JanusFlow, chosen: dict[str, Any], reason: str):
    with pytest.raises(ConfigError, match=reason):
        jf.ask(None, "What?", **chosen)


def test_one_stop_text_or_none_may_be_given_as_it_is():
    given: list[Any] = ["ab", ["ab"], None]
    assert [settings_of({"stop": each}).stop for each in given] == [("ab",), ("ab",), ()]


@pytest.mark.parametrize("number", [-1, 21])
def test_another_number_of_alternatives_is_refused(number: int):
    with pytest.raises(ConfigError, match=f"logprobs={number}"):
        AnsweringSettings(logprobs=number)


def test_what_a_text_cannot_hold_is_refused_by_name(jf: JanusFlow):
    with pytest.raises(ConfigError, match=r"submit_question"):
        jf.ask(None, "What?", logprobs=3)
