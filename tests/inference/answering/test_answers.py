"""The token loop: against transformers' own generate, row by row, with its work counted."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_model import tiny_processor

from janusflow.config.errors import NotFiniteError
from janusflow.inference.answering import answers as module
from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest, TextStream
from janusflow.inference.answering.chat import Message, question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.pipeline import JanusFlow

RED = Image.new("RGB", (40, 40), "red")
LONG, SHORT = question_message([RED], "What is this, and where?"), question_message([], "누구?")
ASKED: list[list[Message]] = [[LONG], [SHORT]]
SHORT_ONLY: list[Message] = [SHORT]


@pytest.fixture
def endless(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> JanusFlow:
    """Its answers are as long as they may be."""
    monkeypatch.setattr(jf.model.config, "eos_token_id", -1)
    return jf


def tokens(
    jf: JanusFlow, asked: Sequence[list[Message]], seeds: Sequence[int] = (5, 9), **chosen: Any
) -> list[list[int]]:
    """Token ids of the answers."""
    requests = [
        QuestionRequest(messages=each, settings=AnsweringSettings(**chosen), seed=seed)
        for each, seed in zip(asked, seeds, strict=True)
    ]
    batch = AnswerBatch(jf.model, jf.processor)
    batch.add(jf.prepare_inputs(asked, allow_paths=False), requests)
    while batch.answers:
        batch.choose()
        batch.read()
    return [request.token_ids for request in requests]


def length(jf: JanusFlow, asked: list[Message]) -> int:
    return int(jf.processor.conversations([asked]).attention_mask.sum())


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_greedy_answers_are_those_of_transformers_generate(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch, attention: str
):
    monkeypatch.setattr(endless.model.config, "image_attention", attention)
    inputs = endless.processor.conversations(ASKED)
    expected = endless.model.generate(
        input_ids=inputs.input_ids,
        attention_mask=inputs.attention_mask,
        pixel_values=inputs.pixel_values,
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=2,
    )
    answers = expected[:, inputs.input_ids.shape[1] :]
    assert tokens(endless, ASKED, max_new_tokens=12) == answers.tolist()


@pytest.mark.parametrize("chosen", [{}, {"temperature": 1.0}, {"temperature": 2.0, "top_p": 0.8}])
def test_an_answer_does_not_depend_on_its_neighbours(endless: JanusFlow, chosen: dict[str, Any]):
    together = tokens(endless, ASKED, max_new_tokens=8, **chosen)
    assert together[1:] == tokens(endless, ASKED[1:], [9], max_new_tokens=8, **chosen)


def test_every_position_is_read_once(endless: JanusFlow, llm_count: Any):
    tokens(endless, ASKED, max_new_tokens=6)
    # The sixth token is not read back.
    assert llm_count.positions == 2 * length(endless, ASKED[0]) + 2 * 5
    assert llm_count.calls == 1 + 5


def test_nobody_asks_the_device_at_every_token_whether_something_is_padded(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    """An unpadded conversation goes without a mask, and a padded one's is read at its beginning."""
    given: list[Any] = []
    forward = endless.model.forward

    def spied(*args: Any, **kwargs: Any) -> Any:
        given.append(kwargs["attention_mask"])
        return forward(*args, **kwargs)

    monkeypatch.setattr(endless.model, "forward", spied)
    tokens(endless, [SHORT_ONLY], [1], max_new_tokens=4)
    assert given == [None] * 4
    tokens(endless, ASKED, max_new_tokens=4)
    read: list[tuple[int, ...]] = []
    real = torch.Tensor.all
    monkeypatch.setattr(torch.Tensor, "all", lambda mask: read.append(mask.shape) or real(mask))
    tokens(endless, ASKED, max_new_tokens=4)
    assert read.count((2, given[4].shape[1])) == len(read) <= 2


def test_an_answer_stops_at_its_end_token_and_leaves_the_forwards_of_the_others(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch, llm_count: Any
):
    chosen: dict[str, Any] = {"max_new_tokens": 10, "temperature": 1.0}
    free = tokens(endless, ASKED, **chosen)
    end = next(token for token in free[0][2:] if token not in free[1])
    monkeypatch.setattr(endless.model.config, "eos_token_id", [end, 3])
    before = llm_count.positions
    cut = free[0][: free[0].index(end)]
    assert tokens(endless, ASKED, **chosen) == [cut, free[1]]
    prompts = 2 * length(endless, ASKED[0])
    assert llm_count.positions - before == prompts + len(cut) + 9


def test_the_same_seed_draws_the_same_answer_and_another_one_differs(endless: JanusFlow):
    chosen: dict[str, Any] = {"max_new_tokens": 10, "temperature": 2.0}
    first = tokens(endless, ASKED, [1, 2], **chosen)
    assert first == tokens(endless, ASKED, [1, 2], **chosen)
    assert first != tokens(endless, ASKED, [3, 4], **chosen)


def test_logits_that_are_not_finite_give_one_line_and_no_answer(
    endless: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    read_tokens, calls = module.read_tokens, []

    def damaged(*args: Any) -> Any:
        logits, cache = read_tokens(*args)
        calls.append(None)
        if len(calls) == 4:
            logits[0, 5] = torch.nan
        return logits, cache

    monkeypatch.setattr(module, "read_tokens", damaged)
    with pytest.raises(NotFiniteError, match="token 4 of an answer") as refusal:
        endless.ask(None, ["What?", "Who?"], max_new_tokens=8)
    assert "\n" not in str(refusal.value)
    calls.clear()
    with pytest.raises(NotFiniteError):
        list(endless.stream(ASKED[1], max_new_tokens=8))
    assert len(calls) == 4


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_pieces_join_to_the_text_and_hold_no_broken_character(text: str):
    processor = tiny_processor()  # its tokens are bytes: the hardest case
    ids = processor.tokenizer.encode(text, add_special_tokens=False)
    stream = TextStream(processor)
    pieces = [stream.piece(ids[: i + 1], is_last=False) for i in range(len(ids))]
    assert "".join([*pieces, stream.piece(ids, is_last=True)]) == processor.decode(ids).lstrip()
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


def test_korean_comes_syllable_by_syllable():
    processor = tiny_processor()
    stream = TextStream(processor)
    ids = processor.tokenizer.encode(" 빨간 원", add_special_tokens=False)
    pieces = [stream.piece(ids[: i + 1], is_last=False) for i in range(len(ids))]
    assert [piece for piece in pieces if piece] == ["빨", "간", " ", "원"]


def test_bytes_that_never_become_a_character_come_at_the_end():
    processor = tiny_processor()
    stream = TextStream(processor)
    cut = processor.tokenizer.encode("원", add_special_tokens=False)[:2]
    assert [stream.piece(cut[:i], is_last=False) for i in (1, 2)] == ["", ""]
    assert stream.piece(cut, is_last=True) == "\ufffd"
    assert stream.piece(cut, is_last=True) == ""
