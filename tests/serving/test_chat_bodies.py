"""What a body of `/v1/chat/completions` may say: accepted, refused by name, or wrong."""

import json
from typing import Any

import httpx2 as httpx
import openai
import pytest
from openai import OpenAI
from serving_calls import QUESTION, ask, text_of, text_part

from janusflow.inference.pipeline import JanusFlow

# ---- what is accepted ----------------------------------------------------------------------------

SHAPES = {
    "consecutive turns of a role": [
        {"role": "user", "content": "One."},
        {"role": "user", "content": "Two?"},
    ],
    "a later system message": [
        {"role": "user", "content": "One."},
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Two?"},
    ],
    "a developer message": [{"role": "developer", "content": "Be brief."}, *QUESTION],
    "content: null": [
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "user", "content": "Two?"},
    ],
    "a name": [{"role": "user", "name": "ann", "content": "One?"}],
    "text parts of an assistant": [
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": [text_part("Two.")]},
        {"role": "user", "content": [text_part("Three?")]},
    ],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_messages_that_openai_accepts_are_accepted(client: OpenAI, jf: JanusFlow, shape: str):
    (expected,) = jf.answer([SHAPES[shape]], max_new_tokens=8)
    assert text_of(ask(client, SHAPES[shape])) == expected


def test_a_message_object_is_appended_as_it_came(client: OpenAI):
    answer = ask(client).choices[0].message
    messages = [*QUESTION, answer, {"role": "user", "content": "Sure?"}]
    assert text_of(ask(client, messages)) is not None
    dumped = [*QUESTION, answer.model_dump(), {"role": "user", "content": "Sure?"}]
    assert text_of(ask(client, dumped)) == text_of(ask(client, messages))


ACCEPTED = {
    "frequency_penalty": 0,
    "logit_bias": {},
    "metadata": {"a": "b"},
    "modalities": ["text"],
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "prompt_cache_key": "key",
    "response_format": {"type": "text"},
    "safety_identifier": "ann",
    "service_tier": "auto",
    "store": False,
    "tool_choice": "none",
    "user": "ann",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_fields_that_change_nothing_are_accepted(client: OpenAI, name: str):
    assert text_of(ask(client, **{name: ACCEPTED[name]})) == text_of(ask(client))


def test_all_fields_may_be_null(client: OpenAI, address: str):
    names = "temperature top_p n stop seed stream stream_options max_tokens tools logprobs"
    body = {"messages": QUESTION, "max_completion_tokens": 8, **dict.fromkeys(names.split())}
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120).json()
    assert answer["choices"][0]["message"]["content"] == text_of(ask(client))


# ---- what is refused -----------------------------------------------------------------------------

TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
REFUSED = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "functions": [{"name": "look"}],
    "logit_bias": {"50": 1},
    "modalities": ["text", "audio"],
    "prediction": {"type": "content", "content": "A star."},
    "presence_penalty": -0.5,
    "response_format": {"type": "json_object"},
    "tool_choice": "auto",
    "tools": [TOOL],
}


@pytest.mark.parametrize("name", REFUSED)
def test_fields_that_would_change_the_result_are_refused_by_name(client: OpenAI, name: str):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, **{name: REFUSED[name]})
    assert (refused.value.param, refused.value.code) == (name, "unsupported_parameter")
    assert refused.value.type == "invalid_request_error"


WRONG = {
    "temperature": 3,
    "top_p": 0,
    "n": 0,
    "seed": -1,
    "max_tokens": 0,
    "stop": ["a", "b", "c", "d", "e"],
    "top_logprobs": 3,
    "top_k": 5,
    "temprature": 1,
    "extra_body": {"seed": 1},
    "messages": [],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(client: OpenAI, name: str):
    """Typing errors, and what is put into extra_body once more, too."""
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, extra_body={name: WRONG[name]})
    assert (refused.value.param or "").split(".")[0] == name
    assert name in str(refused.value)


def test_more_choices_than_are_allowed_are_refused(client: OpenAI):
    with pytest.raises(openai.BadRequestError, match="at most 10"):
        ask(client, n=11)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "tool", "content": "4", "tool_call_id": "1"}],
        [{"role": "robot", "content": "Hi."}],
        [{"role": "assistant", "content": "Hi."}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,no"}}]}],
        [{"role": "user", "content": "<image_placeholder>"}],
        [{"role": "user", "content": "word " * 1000}],
    ],
    ids=["tool", "role", "no question", "empty", "audio", "no image", "placeholder", "context"],
)
@pytest.mark.parametrize("stream", [False, True])
def test_messages_that_cannot_be_answered_are_refused_with_a_status(
    client: OpenAI, messages: Any, stream: bool
):
    """Also those of a stream, which has not begun then."""
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, messages, stream=stream)
    assert refused.value.type == "invalid_request_error"


def test_an_unknown_model_is_not_found(client: OpenAI):
    with pytest.raises(openai.NotFoundError) as refused:
        ask(client, model="gpt-4")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


# ---- other clients -------------------------------------------------------------------------------


def test_open_web_ui_finds_the_model_and_chats(address: str, client: OpenAI):
    """It lists models, then streams with fields of its own."""
    (model,) = httpx.get(f"{address}/v1/models", headers={"Authorization": "Bearer none"}).json()[
        "data"
    ]
    body = {
        "model": model["id"],
        "messages": [{"role": "system", "content": "Be brief."}, *QUESTION],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 8,
        "chat_id": "5f0c",
        "session_id": "aBc",
        "features": {"image_generation": False, "web_search": False},
        "background_tasks": {"title_generation": True},
    }
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=120)
    *events, _ = [each for each in answer.text.split("\n\n") if each]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    told = "".join(c["delta"].get("content") or "" for each in chunks for c in each["choices"])
    assert told.strip() == text_of(ask(client, body["messages"]))


def test_models_are_listed_with_what_a_page_needs(client: OpenAI, jf: JanusFlow):
    (model,) = client.models.list().data
    assert (model.id, model.object) == ("tiny", "model")
    ours = model.janusflow  # pyright: ignore[reportAttributeAccessIssue]
    assert ours["image_size"] == jf.image_size
    assert "dopri5" in ours["solvers"]
    assert client.models.retrieve("tiny") == model
