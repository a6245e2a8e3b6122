"""Chat as OpenAI's own client speaks it, over a real connection."""

import asyncio
import json
import math
from typing import Any

import httpx2 as httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from serving_calls import HOT, QUESTION, ask, image, image_part, streamed, text_of, text_part

from janusflow.inference.pipeline import JanusFlow

# ---- what is answered ----------------------------------------------------------------------------


def test_an_answer_is_that_of_ask(client: OpenAI, jf: JanusFlow):
    answer = ask(client)
    assert text_of(answer) == jf.ask(None, "What is a star?", max_new_tokens=8)
    assert (answer.object, answer.model) == ("chat.completion", "tiny")


def test_without_settings_the_likeliest_tokens_are_taken(endless: JanusFlow, client: OpenAI):
    """Temperature 0, as `ask`: two answers are the same."""
    first, second = (ask(client, max_tokens=6) for _ in range(2))
    assert text_of(first) == text_of(second)
    assert {text_of(ask(client, **HOT)) for _ in range(4)} != {text_of(ask(client, **HOT))}


def test_usage_counts_tokens_that_were_read_and_written(endless: JanusFlow, client: OpenAI):
    inputs = endless.prepare_inputs([QUESTION], allow_paths=False)
    usage = ask(client, max_tokens=6).usage
    assert usage.prompt_tokens == inputs["input_ids"].shape[1]
    assert (usage.completion_tokens, usage.total_tokens) == (6, usage.prompt_tokens + 6)


def test_why_an_answer_ends_is_told(endless: JanusFlow, client: OpenAI):
    assert ask(client, max_tokens=3).choices[0].finish_reason == "length"
    long = text_of(ask(client, max_tokens=20))
    middle = long[6:8]
    cut = ask(client, max_tokens=20, stop=[middle]).choices[0]
    assert (cut.message.content, cut.finish_reason) == (long[: long.index(middle)].strip(), "stop")


def test_a_seed_is_honoured_and_none_is_fixed(endless: JanusFlow, client: OpenAI):
    """The same seed gives the same answer, another another one, and without one none is fixed."""
    assert text_of(ask(client, seed=7, **HOT)) == text_of(ask(client, seed=7, **HOT))
    assert text_of(ask(client, seed=7, **HOT)) != text_of(ask(client, seed=8, **HOT))
    assert len({text_of(ask(client, **HOT)) for _ in range(3)}) > 1


@pytest.mark.parametrize("seed", [0, 2**31, 2**32, 2**53])
def test_seeds_of_any_usual_size_are_taken(client: OpenAI, seed: int):
    assert text_of(ask(client, seed=seed)) is not None


def test_several_choices_differ_and_the_first_is_that_of_one(endless: JanusFlow, client: OpenAI):
    several = ask(client, n=3, seed=5, **HOT)
    alone = [text_of(ask(client, seed=seed, **HOT)) for seed in (5, 6, 7)]
    assert [choice.message.content for choice in several.choices] == alone
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.usage.completion_tokens == 36
    assert several.usage.prompt_tokens == ask(client).usage.prompt_tokens


def test_the_newer_name_of_max_tokens_is_honoured(endless: JanusFlow, client: OpenAI):
    given = {"max_tokens": openai.omit, "max_completion_tokens": 5}
    assert ask(client, **given).usage.completion_tokens == 5


def test_logprobs_are_those_of_the_tokens(endless: JanusFlow, client: OpenAI):
    answer = ask(client, logprobs=True, top_logprobs=3).choices[0]
    tokens = answer.logprobs.content
    assert len(tokens) == 8
    for token in tokens:
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob  # temperature is 0
        assert sum(math.exp(each.logprob) for each in token.top_logprobs) <= 1.0
    written = b"".join(bytes(each.bytes) for each in tokens if not each.token.startswith("<"))
    assert written.decode("utf-8", "replace").strip() == answer.message.content
    assert ask(client).choices[0].logprobs is None


# ---- images --------------------------------------------------------------------------------------


def test_images_are_seen_as_by_ask(client: OpenAI, jf: JanusFlow):
    """Also large ones, which are made smaller before they are queued; `detail` says nothing."""
    shown = [image("red"), image("navy", (700, 900))]
    content = [image_part(each, detail="low") for each in shown] + [text_part("What changed?")]
    answer = text_of(ask(client, [{"role": "user", "content": content}]))
    assert answer == jf.ask(shown, "What changed?", max_new_tokens=8)
    assert answer != jf.ask(shown[:1], "What changed?", max_new_tokens=8)


def test_images_of_several_turns_are_all_seen(client: OpenAI, jf: JanusFlow):
    def messages(first: str) -> list[dict[str, Any]]:
        return [
            {"role": "user", "content": [image_part(image(first)), text_part("What is it?")]},
            {"role": "assistant", "content": "A colour."},
            {"role": "user", "content": [text_part("And this?"), image_part(image("blue"))]},
        ]

    told = [text_of(ask(client, messages(colour))) for colour in ("red", "green")]
    expected = [jf.answer([messages(c)], max_new_tokens=8)[0] for c in ("red", "green")]
    assert told == expected


# ---- streams -------------------------------------------------------------------------------------


def test_a_stream_is_the_answer_in_pieces(endless: JanusFlow, client: OpenAI):
    chunks = list(ask(client, stream=True, seed=7, **HOT))
    first, *middle, last = [chunk.choices[0] for chunk in chunks]
    assert (first.delta.role, first.delta.content, first.finish_reason) == ("assistant", "", None)
    assert (last.delta.content, last.finish_reason) == (None, "length")
    assert len(middle) > 2
    assert all(choice.finish_reason is None for choice in middle)
    assert streamed(chunks) == text_of(ask(client, seed=7, **HOT))
    assert len({chunk.id for chunk in chunks}) == 1


def test_usage_says_how_much_of_a_prompt_was_read_before(client: OpenAI):
    messages = [{"role": "user", "content": "What was never asked here before?"}]
    first, again = (ask(client, messages=messages, max_tokens=1).usage for _ in range(2))
    assert first.prompt_tokens_details.cached_tokens < first.prompt_tokens
    assert again.prompt_tokens_details.cached_tokens == again.prompt_tokens
    assert again.prompt_tokens == first.prompt_tokens


def test_a_stream_ends_with_its_usage_where_that_is_wanted(endless: JanusFlow, client: OpenAI):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    whole = ask(client).usage
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(chunks[-1].usage, name) == getattr(whole, name)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_several_choices_are_streamed_side_by_side(endless: JanusFlow, client: OpenAI):
    settings = {"n": 2, "seed": 3, **HOT}
    chunks = list(ask(client, stream=True, **settings))
    whole = ask(client, **settings)
    told = [choice.message.content for choice in whole.choices]
    assert [streamed(chunks, index) for index in range(2)] == told
    order = [chunk.choices[0].index for chunk in chunks]
    assert order != sorted(order)


def test_a_stream_holds_back_what_may_become_a_stop_text(endless: JanusFlow, client: OpenAI):
    long = text_of(ask(client, max_tokens=20))
    settings = {"max_tokens": 20, "stop": long[7:10]}
    chunks = list(ask(client, stream=True, **settings))
    assert streamed(chunks) == text_of(ask(client, **settings))
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_logprobs_of_a_stream_are_those_of_the_whole(endless: JanusFlow, client: OpenAI):
    chunks = list(ask(client, stream=True, logprobs=True))
    told = [each.choices[0].logprobs for each in chunks]
    tokens = [token.token for each in told if each is not None for token in each.content]
    whole = ask(client, logprobs=True).choices[0].logprobs.content
    assert tokens == [token.token for token in whole]


def test_the_bytes_of_a_stream_are_events(address: str):
    body = {"messages": QUESTION, "max_tokens": 3, "stream": True}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    for event in events:
        assert json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_a_silent_stream_shows_that_it_is_alive(
    endless: JanusFlow, address: str, client: OpenAI, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("janusflow.serving.engine.KEEP_ALIVE_SECONDS", 0.001)
    body = {"messages": QUESTION, "max_tokens": 40, "stream": True}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120)
    assert ": keep-alive\n\n" in answer.text
    assert streamed(ask(client, max_tokens=40, stream=True)) == text_of(ask(client, max_tokens=40))


def test_many_at_once_get_what_each_gets_alone(endless: JanusFlow, address: str, client: OpenAI):
    """None is lost, none gets another's."""
    questions = [
        [{"role": "user", "content": f"What is {'s' * number}?"}] for number in range(1, 9)
    ]
    expected = [text_of(ask(client, question)) for question in questions]

    async def one(open_client: AsyncOpenAI, question: Any, *, is_streamed: bool) -> str:
        answer: Any = await open_client.chat.completions.create(
            model="tiny", messages=question, max_tokens=8, stream=is_streamed
        )
        return streamed([chunk async for chunk in answer]) if is_streamed else text_of(answer)

    async def all_at_once() -> list[str]:
        async with AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as opened:
            calls = [one(opened, q, is_streamed=i % 2 == 0) for i, q in enumerate(questions)]
            return await asyncio.gather(*calls)

    assert asyncio.run(all_at_once()) == expected
