"""Conversations become the release's text, character by character."""

import json
from pathlib import Path
from typing import Any

import pytest

from janusflow.config.errors import ConfigError
from janusflow.processing.templates import (
    TEMPLATES,
    UNDERSTANDING_SYSTEM_PROMPT,
    format_conversation,
)


@pytest.fixture(scope="module")
def told(reference: Path) -> dict[str, Any]:
    return json.loads((reference / "templates.json").read_text(encoding="utf-8"))


def asked(prompt: str) -> list[dict[str, str]]:
    return [{"role": "User", "content": prompt}, {"role": "Assistant", "content": ""}]


@pytest.mark.parametrize("template", ["deepseek", "deepseek_old"])
def test_every_conversation_of_the_reference_is_formatted_alike(
    told: dict[str, Any], template: str
):
    assert told["system_prompt_understanding"] == UNDERSTANDING_SYSTEM_PROMPT
    for name, case in told["understanding"].items():
        for system_prompt, key in (
            (UNDERSTANDING_SYSTEM_PROMPT, template),
            ("", f"{template}_no_system"),
        ):
            text = format_conversation(
                case["conversation"], system_prompt=system_prompt, template=template
            )
            assert text == case[key], name


@pytest.mark.parametrize("template", ["deepseek", "deepseek_old"])
def test_every_drawing_prompt_of_the_reference_is_formatted_alike(
    told: dict[str, Any], template: str
):
    for case in told["generation"]:
        text = format_conversation(asked(case["prompt"]), system_prompt="", template=template)
        assert text == case[template]


def test_formats_read_as_their_definition_says():
    turns = [
        {"role": "User", "content": " hi "},
        {"role": "Assistant", "content": "hello"},
        {"role": "User", "content": "bye"},
        {"role": "Assistant", "content": "\n"},
    ]
    text = format_conversation(
        turns, system_prompt="Be kind.", template="deepseek_old", end_of_answer="<end>"
    )
    assert text == "Be kind.\n\nUser: hi\n\nAssistant: hello<end>User: bye\n\nAssistant:"
    assert format_conversation(turns, system_prompt="Be kind.", template="plain") == "hihellobye"


def test_an_answer_that_starts_the_next_turn_is_stopped():
    assert "User:" in TEMPLATES["deepseek_old"].stop_strings


def test_an_unknown_template_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'llama'.*deepseek_old"):
        format_conversation([], system_prompt="", template="llama")
