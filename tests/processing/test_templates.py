"""The Jinja template gives the release's text, character by character."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from release_format import format_conversation
from transformers.utils.chat_template_utils import render_jinja_template

from janusflow.config.errors import ConfigError
from janusflow.processing.templates import (
    END_OF_SENTENCE,
    SFT_FORMATS,
    UNDERSTANDING_SYSTEM_PROMPT,
    build_chat_template,
    question_text,
)

TAG = "<image_placeholder>"


@pytest.fixture(scope="module")
def told(reference: Path) -> dict[str, Any]:
    return json.loads((reference / "templates.json").read_text(encoding="utf-8"))


def rendered(
    messages: Sequence[Any],
    *,
    sft_format: str = "deepseek_old",
    system_prompt: str = "",
    end: str = END_OF_SENTENCE,
    **options: Any,
) -> str:
    template = build_chat_template(
        sft_format=sft_format, system_prompt=system_prompt, image_tag=TAG
    )
    texts, _ = render_jinja_template([messages], chat_template=template, eos_token=end, **options)
    return texts[0]


@pytest.mark.parametrize("sft_format", ["deepseek", "deepseek_old"])
def test_every_conversation_of_the_reference_is_formatted_alike(
    told: dict[str, Any], sft_format: str
):
    assert told["system_prompt_understanding"] == UNDERSTANDING_SYSTEM_PROMPT
    for name, case in told["understanding"].items():
        for system_prompt, key in (
            (UNDERSTANDING_SYSTEM_PROMPT, sft_format),
            ("", f"{sft_format}_no_system"),
        ):
            text = rendered(
                case["conversation"], sft_format=sft_format, system_prompt=system_prompt
            )
            assert text == case[key], name


def test_every_drawing_prompt_of_the_reference_is_formatted_alike(told: dict[str, Any]):
    for case in told["generation"]:
        assert question_text(case["prompt"]) == case["deepseek"] == case["deepseek_old"]
        asked = [{"role": "user", "content": case["prompt"]}]
        assert rendered(asked, add_generation_prompt=True) == case["deepseek"]


words = st.text(st.sampled_from("ab \n\t\u3000{}%'\"\\<가"), max_size=6)


@given(
    messages=st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["User", "Assistant"]), "content": words}),
        min_size=1,
        max_size=5,
    ),
    system_prompt=words,
    is_said=st.booleans(),
    sft_format=st.sampled_from(SFT_FORMATS),
)
@settings(max_examples=300, deadline=None)
def test_any_conversation_is_formatted_as_the_release_would(
    messages: list[dict[str, str]], system_prompt: str, is_said: bool, sft_format: str
):
    expected = format_conversation(messages, system_prompt=system_prompt, sft_format=sft_format)
    if is_said:
        said = [{"role": "system", "content": system_prompt}, *messages]
        assert rendered(said, sft_format=sft_format, system_prompt="another") == expected
    else:
        got = rendered(messages, sft_format=sft_format, system_prompt=system_prompt)
        assert got == expected


@given(words)
@settings(max_examples=100, deadline=None)
def test_a_question_is_a_conversation_of_one_turn(question: str):
    asked = [{"role": "User", "content": question}, {"role": "Assistant", "content": ""}]
    assert question_text(question) == format_conversation(asked, system_prompt="")
    assert question_text(question) == rendered(asked)


def test_parts_are_joined_by_line_breaks_and_images_become_placeholders():
    parts = [{"type": "image"}, {"type": "text", "text": "What?"}, {"type": "image_url"}]
    assert rendered([{"role": "user", "content": parts}]) == f"User: {TAG}\nWhat?\n{TAG}"


def test_the_generation_prompt_comes_only_when_asked_for_and_once():
    asked = [{"role": "user", "content": "hi"}]
    opened = [*asked, {"role": "assistant", "content": " "}]
    assert rendered(asked) == "User: hi"
    assert rendered(asked, add_generation_prompt=True) == "User: hi\n\nAssistant:"
    assert rendered(opened) == "User: hi\n\nAssistant:"
    assert rendered(opened, add_generation_prompt=True) == "User: hi\n\nAssistant:"


def test_an_unknown_format_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'llama'.*deepseek_old"):
        build_chat_template(sft_format="llama", system_prompt="", image_tag=TAG)
