"""Chat templates: a conversation as the one string that the LLM reads.

Exactly the release's formats, quirks included: separators follow a message's place (even, odd),
not its role; roles are the strings the caller gives; an empty message leaves "Assistant:" open for
the answer; messages and the whole text are stripped. Token ids and images come later
(`processor.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from janusflow.config.errors import ConfigError

END_OF_SENTENCE = "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "User", "Assistant"

UNDERSTANDING_SYSTEM_PROMPT = (
    "You are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural "
    "language."
)
"""The release's default for questions; prompts for drawing have none."""

PLANNING_QUESTION = "Plan: {prompt}"
"""What a model that plans (`JanusFlowConfig.plans`) is asked before it draws a prompt."""


class Message(TypedDict):
    """One turn of a conversation, in the release's shape."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """How messages are joined and where an answer that runs on must be cut."""

    has_roles: bool = True
    """False: messages are only strung together, without roles, system prompt or separators."""
    stop_strings: tuple[str, ...]


TEMPLATES: dict[str, ChatTemplate] = {
    "deepseek": ChatTemplate(stop_strings=("<|User|>", END_OF_SENTENCE)),
    "deepseek_old": ChatTemplate(stop_strings=("User:", END_OF_SENTENCE)),
    "plain": ChatTemplate(has_roles=False, stop_strings=("</s>",)),
}
"""By the names of `sft_format` in the release's processor_config.json."""
RELEASE_TEMPLATE = "deepseek_old"
"""What the released JanusFlow uses."""


def planning_question(prompt: str) -> str:
    """The question whose answer is a prompt that says where everything is, for drawing."""
    return PLANNING_QUESTION.format(prompt=prompt)


def find_template(name: str) -> ChatTemplate:
    """The template of that name."""
    if name not in TEMPLATES:
        raise ConfigError(f"got chat template {name!r}: use one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def format_conversation(
    messages: Sequence[Message],
    *,
    system_prompt: str,
    template: str,
    end_of_answer: str = END_OF_SENTENCE,
) -> str:
    """The conversation as text, without the begin-of-sentence token.

    Args:
        messages: strictly in turns, the question first; a last empty message asks for an answer.
        system_prompt: "" for none.
        template: a name in `TEMPLATES`.
        end_of_answer: closes every answer; the tokenizer's end-of-sentence token.
    """
    texts = [message["content"].strip() for message in messages]
    if not find_template(template).has_roles:
        return "".join(texts).strip()
    parts = [f"{system_prompt}\n\n"] if system_prompt else []
    for index, (message, text) in enumerate(zip(messages, texts, strict=True)):
        separator = end_of_answer if index % 2 else "\n\n"
        parts.append(f"{message['role']}: {text}{separator}" if text else f"{message['role']}:")
    return "".join(parts).strip()
