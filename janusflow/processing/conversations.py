"""Messages as people and programs write them, brought into the release's shape.

Two shapes are read, also mixed: the release's (`{"role": "User", "content": "<image_placeholder>
..."}`, images handed over beside it) and OpenAI's (lower-case roles, system messages, content as a
list of text and image parts, message objects). An image part becomes a placeholder; parts, and
consecutive messages of one role, are joined by line breaks. Nothing is tokenized here.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from janusflow.config.errors import PromptError
from janusflow.processing.image_files import ImageInput, image_from_url
from janusflow.processing.templates import ASSISTANT, USER, Message

SYSTEM_ROLES = ("system", "developer")
TOOL_ROLES = ("tool", "function")
ROLES = {"user": USER, "assistant": ASSISTANT}
TEXT_KEYS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Type of a text part -> the key that holds the text."""
IMAGE_KEYS = {
    "image": ("image", "path", "url", "base64"),
    "image_url": ("image_url",),
    "input_image": ("image_url",),
}
"""Type of an image part -> the keys that may hold the image."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Messages that alternate between user and assistant, and the images they mention."""

    messages: tuple[Message, ...]
    system_prompt: str | None
    """None: the caller did not say, the processor's default holds."""
    images: tuple[ImageInput | None, ...]
    """One an image placeholder, in reading order; None where the image comes separately."""

    @property
    def is_answered(self) -> bool:
        """Whether the last message is an answer, perhaps one to be continued."""
        last = self.messages[-1]
        return last["role"] == ASSISTANT and bool(last["content"].strip())

    def with_system(self) -> list[Message]:
        """The messages for a chat template, the system's first."""
        if self.system_prompt is None:
            return list(self.messages)
        return [Message(role="system", content=self.system_prompt), *self.messages]


def is_conversation(given: Any) -> bool:
    """Whether this is one conversation, and not several: its first entry is no list of messages."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise PromptError(f"got {given!r:.80} as conversation: give a list of messages")
    return not isinstance(given[0], list | tuple)


def read_conversation(
    messages: Sequence[Any], *, image_tag: str, allow_paths: bool = True
) -> Conversation:
    """Check and normalise one conversation.

    Args:
        messages: dicts or objects in either shape; they may come from anywhere and are checked.
        image_tag: the placeholder that stands for an image in texts.
        allow_paths: False refuses file paths inside messages (messages that come over a network
            must not read the machine's files); data: URIs and open images stay allowed.
    """
    system: list[str] = []
    turns: list[Message] = []
    images: list[ImageInput | None] = []
    for message in messages:
        role, text, found = _read_message(message, image_tag=image_tag, allow_paths=allow_paths)
        images += found
        if role in SYSTEM_ROLES:
            system.append(text)
        elif turns and turns[-1]["role"] == role:
            turns[-1]["content"] += f"\n{text}"
        else:
            turns.append(Message(role=role, content=text))
    _check_turns(turns)
    return Conversation(
        messages=tuple(turns),
        system_prompt="\n".join(system) if system else None,
        images=tuple(images),
    )


def with_images(
    conversation: Conversation, given: Sequence[ImageInput], *, number: int, image_tag: str
) -> list[ImageInput]:
    """All images of a conversation: those in its messages, the rest filled up from `given`."""
    num_open = sum(image is None for image in conversation.images)
    if num_open != len(given):
        raise PromptError(
            f"conversation {number} has {num_open} {image_tag} without an image but {len(given)} "
            "images were given: give one image for each, in reading order"
        )
    rest = iter(given)
    return [next(rest) if image is None else image for image in conversation.images]


def _read_message(
    message: object, *, image_tag: str, allow_paths: bool
) -> tuple[str, str, list[ImageInput | None]]:
    said = _as_mapping(message)
    if said is None or "role" not in said or not {"content", "refusal", "tool_calls"} & set(said):
        raise PromptError(f"got message {message!r:.80}: give a dict with 'role' and 'content'")
    role = str(said["role"]).lower()
    if role in TOOL_ROLES or said.get("tool_calls") or said.get("function_call"):
        raise PromptError(f"got message {message!r:.80}: the model calls no tools, leave it out")
    if role not in ROLES and role not in SYSTEM_ROLES:
        raise PromptError(f"got role {said['role']!r:.80}: use 'user', 'assistant' or 'system'")
    content = said.get("content")
    if content is None and role == "assistant":
        content = said.get("refusal") or ""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, Sequence) or isinstance(parts, bytes):
        raise PromptError(f"got content {content!r:.80}: give a text or a list of parts")
    texts: list[str] = []
    images: list[ImageInput | None] = []
    for part in parts:
        text, found = _read_part(part, image_tag=image_tag, allow_paths=allow_paths)
        texts.append(text)
        images += found
    if images and role != "user":
        raise PromptError(f"got an image in a message of role {role!r}: users show images")
    return ROLES.get(role, role), "\n".join(texts), images


def _as_mapping(value: Any) -> Mapping[str, Any] | None:
    """A message or part as a mapping: a dict, a dataclass, or an object of a client library."""
    if isinstance(value, Mapping):
        return value
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump()
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return vars(value) if hasattr(value, "role") and hasattr(value, "__dict__") else None


def _read_part(
    part: object, *, image_tag: str, allow_paths: bool
) -> tuple[str, list[ImageInput | None]]:
    said = _as_mapping(part) or {}
    kind = said.get("type")
    if kind in TEXT_KEYS and isinstance(text := said.get(TEXT_KEYS[kind]), str):
        return text, [None] * text.count(image_tag)
    if kind in IMAGE_KEYS:
        held = [said[key] for key in IMAGE_KEYS[kind] if said.get(key) is not None]
        return image_tag, [_part_image(held[0], allow_paths=allow_paths) if held else None]
    raise PromptError(
        f"got content part {part!r:.80}: give {{'type': 'text', 'text': ...}}, "
        "{'type': 'image', 'image': ...} or {'type': 'image_url', 'image_url': {'url': ...}}"
    )


def _part_image(held: object, *, allow_paths: bool) -> ImageInput:
    said = _as_mapping(held)
    value = held if said is None else said.get("url")
    if isinstance(value, str | Path):
        return image_from_url(str(value), allow_paths=allow_paths)
    if isinstance(value, ImageInput):
        return value
    raise PromptError(
        f"got a {type(value).__name__} as image: give a PIL.Image.Image, a path or a data: URI"
    )


def _check_turns(turns: Sequence[Message]) -> None:
    if not turns:
        raise PromptError(f"got {len(turns)} messages: give at least one user message")
    if turns[0]["role"] != USER:
        raise PromptError(
            f"turn 1 is the {turns[0]['role'].lower()}'s, wanted the user's: user and assistant "
            "take turns, the user first"
        )
    for index, turn in enumerate(turns):
        if not turn["content"].strip() and (turn["role"] == USER or index < len(turns) - 1):
            raise PromptError(f"turn {index + 1} ({turn['role'].lower()}) is empty: leave it out")
