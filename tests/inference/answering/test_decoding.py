"""Answers token by token: against transformers' own generate, sampling rules, text as it comes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.inference.answering.decoding import (
    AnsweringSettings,
    TextPieces,
    answer_tokens,
    choose_tokens,
    end_ids,
    nucleus,
)
from janusflow.model.modeling import JanusFlowForConditionalGeneration


def batch(
    model: JanusFlowForConditionalGeneration, lengths: tuple[int, ...] = (7, 4)
) -> tuple[Tensor, Tensor]:
    """Random left-padded embeddings of conversations of these lengths."""
    width = max(lengths)
    generator = torch.Generator().manual_seed(1)
    embeds = torch.randn(len(lengths), width, model.config.hidden_size, generator=generator)
    mask = torch.tensor([[0] * (width - length) + [1] * length for length in lengths])
    return embeds, mask


def answers(
    model: JanusFlowForConditionalGeneration,
    embeds: Tensor,
    mask: Tensor,
    *,
    seeds: list[int] | None = None,
    **chosen: Any,
) -> list[list[int]]:
    steps = answer_tokens(
        model,
        embeds,
        mask,
        settings=AnsweringSettings(**chosen),
        seeds=seeds or list(range(len(embeds))),
    )
    columns = zip(*steps, strict=True)
    return [[token for token in column if token is not None] for column in columns]


def test_greedy_answers_are_those_of_transformers_generate(
    model: JanusFlowForConditionalGeneration,
):
    embeds, mask = batch(model)
    expected = model.llm.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        max_new_tokens=12,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=2,
    )
    assert answers(model, embeds, mask, max_new_tokens=12) == expected.tolist()


def test_an_answer_does_not_depend_on_its_neighbours(model: JanusFlowForConditionalGeneration):
    embeds, mask = batch(model)
    together = answers(model, embeds, mask, max_new_tokens=8, temperature=1.0, seeds=[5, 9])
    alone = answers(
        model, embeds[1:, 3:], mask[1:, 3:], max_new_tokens=8, temperature=1.0, seeds=[9]
    )
    assert together[1] == alone[0]


def test_every_position_is_read_once(model: JanusFlowForConditionalGeneration, llm_count: Any):
    embeds, mask = batch(model)
    answers(model, embeds, mask, max_new_tokens=6)
    assert llm_count.positions == 2 * 7 + 2 * 5  # the sixth token is not read back


def test_an_answer_stops_at_its_end_token_and_others_go_on(
    model: JanusFlowForConditionalGeneration, monkeypatch: pytest.MonkeyPatch
):
    embeds, mask = batch(model)
    free = answers(model, embeds, mask, max_new_tokens=10)
    end = free[0][2]
    monkeypatch.setattr(model.config, "eos_token_id", end)
    stopped = answers(model, embeds, mask, max_new_tokens=10)
    assert stopped == [row[: row.index(end)] if end in row else row for row in free]


def test_the_same_seed_draws_the_same_answer_and_another_one_differs(
    model: JanusFlowForConditionalGeneration,
):
    embeds, mask = batch(model)
    chosen: dict[str, Any] = {"max_new_tokens": 10, "temperature": 2.0}
    first = answers(model, embeds, mask, seeds=[1, 2], **chosen)
    assert first == answers(model, embeds, mask, seeds=[1, 2], **chosen)
    assert first != answers(model, embeds, mask, seeds=[3, 4], **chosen)


def test_sampling_follows_the_softmax_of_the_logits_over_temperature():
    """40,000 draws: a frequency's standard error is below 0.0025; four of them are allowed."""
    logits = torch.tensor([[1.0, 0.0, -1.0]]).expand(40_000, 3)
    generator = torch.Generator().manual_seed(0)
    drawn = choose_tokens(logits, AnsweringSettings(temperature=0.5), [generator] * len(logits))
    frequency = torch.bincount(torch.tensor(drawn), minlength=3) / len(drawn)
    expected = torch.tensor([2.0, 0.0, -2.0]).softmax(0)
    torch.testing.assert_close(frequency, expected, atol=0.01, rtol=0)


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p():
    probabilities = torch.tensor([[0.1, 0.5, 0.15, 0.25]])
    kept = nucleus(probabilities, top_p=0.7)
    torch.testing.assert_close(kept, torch.tensor([[0.0, 0.5, 0.0, 0.25]]))
    assert nucleus(probabilities, top_p=1e-9).count_nonzero() == 1
    assert nucleus(probabilities, top_p=1.0).equal(probabilities)


def test_end_ids_may_be_none_one_or_many():
    assert (end_ids(None), end_ids(7), end_ids([7, 8])) == (set(), {7}, {7, 8})


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"temperature": -0.5}, {"top_p": 0.0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AnsweringSettings(**wrong)


def decode_bytes(token_ids: list[int]) -> str:
    """A tokenizer whose ids are bytes: the hardest case for streaming."""
    return bytes(token_ids).decode("utf-8", errors="replace")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_pieces_join_to_the_text_and_hold_no_broken_character(text: str):
    pieces = TextPieces(decode_bytes)
    given_out = [pieces.add(byte) for byte in text.encode("utf-8")]
    assert "".join([*given_out, pieces.finish()]) == text
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in given_out)


def test_korean_comes_syllable_by_syllable():
    pieces = TextPieces(decode_bytes)
    given_out = [pieces.add(byte) for byte in "빨간 원".encode()]
    assert [piece for piece in given_out if piece] == ["빨", "간", " ", "원"]


def test_bytes_that_never_become_a_character_come_at_the_end():
    pieces = TextPieces(decode_bytes)
    cut = "원".encode()[:2]
    assert [pieces.add(byte) for byte in cut] == ["", ""]
    assert pieces.finish() == "\ufffd"
    assert pieces.finish() == ""
