"""Messages as people and programs write them, brought into the release's shape.

Two shapes are read, also mixed: the release's (`{"role": "User", "content": "<image_placeholder>
..."}`, images handed over beside it) and OpenAI's (lower-case roles, a system message first,
content as a list of text and image parts). An image part becomes a placeholder; parts are
joined by line breaks. Nothing is tokenized here.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from PIL import Image

from janusflow.config.errors import ImageError, PromptError
from janusflow.processing.image_files import ImageInput
from janusflow.processing.templates import ASSISTANT, USER, Message

SYSTEM_ROLES = ("system", "developer")
ROLES = {"user": USER, "assistant": ASSISTANT}
IMAGE_KEYS = {"image": ("image", "path", "url"), "image_url": ("image_url",)}
"""Type of an image part -> the keys that may hold the image."""


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Messages that alternate between user and assistant, and the images they mention."""

    messages: tuple[Message, ...]
    system_prompt: str | None
    """None: the caller did not say, the processor's default holds."""
    images: tuple[ImageInput | None, ...]
    """One an image placeholder, in reading order; None where the image comes separately."""


def read_conversation(
    messages: Sequence[Any],
    *,
    image_tag: str,
    ask_for_answer: bool = True,
    allow_paths: bool = True,
) -> Conversation:
    """Check and normalise one conversation.

    Args:
        messages: dicts in either shape; they may come from anywhere and are checked here.
        image_tag: the placeholder that stands for an image in texts.
        ask_for_answer: open an assistant's turn if the user spoke last.
        allow_paths: False refuses file paths inside messages (messages that come over a network
            must not read the machine's files); data: URIs and open images stay allowed.
    """
    system_prompt = None
    turns: list[Message] = []
    images: list[ImageInput | None] = []
    for index, message in enumerate(messages):
        role, text, found = _read_message(message, image_tag=image_tag, allow_paths=allow_paths)
        if role in SYSTEM_ROLES:
            if index > 0:
                raise PromptError(
                    f"message {index + 1} is a {role} message: only the first may be one"
                )
            system_prompt = text
            continue
        turns.append(Message(role=role, content=text))
        images += found
    if ask_for_answer and turns and turns[-1]["role"] == USER:
        turns.append(Message(role=ASSISTANT, content=""))
    _check_turns(turns)
    return Conversation(messages=tuple(turns), system_prompt=system_prompt, images=tuple(images))


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


def image_from_url(url: str, *, allow_paths: bool = True) -> ImageInput:
    """The image that a data: URI, file: URI or path stands for; web addresses are refused."""
    shown = repr(url if len(url) <= 80 else f"{url[:77]}...")
    if url.startswith("data:"):
        return _data_uri_bytes(url, shown=shown)
    if url.startswith(("http://", "https://")):
        raise PromptError(
            f"image {shown} is on the web and is not fetched: download it, then give its path or "
            "a data: URI"
        )
    if not allow_paths:
        raise PromptError(f"image {shown} is a file path: send the image as a data: URI")
    return Path(unquote(urlsplit(url).path)) if url.startswith("file://") else Path(url)


def _read_message(
    message: object, *, image_tag: str, allow_paths: bool
) -> tuple[str, str, list[ImageInput | None]]:
    if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
        raise PromptError(f"got message {message!r:.80}: give a dict with 'role' and 'content'")
    said = str(message["role"]).lower()
    if said not in ROLES and said not in SYSTEM_ROLES:
        raise PromptError(f"got role {message['role']!r}: use 'user', 'assistant' or 'system'")
    content = message["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, Sequence):
        raise PromptError(f"got content {content!r:.80}: give a text or a list of parts")
    texts: list[str] = []
    images: list[ImageInput | None] = []
    for part in parts:
        text, found = _read_part(part, image_tag=image_tag, allow_paths=allow_paths)
        texts.append(text)
        images += found
    if images and said != "user":
        raise PromptError(f"got an image in a message of role {said!r}: users show images")
    return ROLES.get(said, said), "\n".join(texts), images


def _read_part(
    part: object, *, image_tag: str, allow_paths: bool
) -> tuple[str, list[ImageInput | None]]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if isinstance(part, Mapping) and kind == "text" and isinstance(part.get("text"), str):
        return part["text"], [None] * part["text"].count(image_tag)
    if isinstance(part, Mapping) and kind in IMAGE_KEYS:
        held = [part[key] for key in IMAGE_KEYS[kind] if part.get(key) is not None]
        return image_tag, [_part_image(held[0], allow_paths=allow_paths) if held else None]
    raise PromptError(
        f"got content part {part!r:.80}: give {{'type': 'text', 'text': ...}}, "
        "{'type': 'image', 'image': ...} or {'type': 'image_url', 'image_url': {'url': ...}}"
    )


def _part_image(held: object, *, allow_paths: bool) -> ImageInput:
    value = held.get("url") if isinstance(held, Mapping) else held
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        return image_from_url(value, allow_paths=allow_paths)
    if isinstance(value, Image.Image | bytes):
        return value
    raise PromptError(
        f"got a {type(value).__name__} as image: give a PIL.Image.Image, a path or a data: URI"
    )


def _data_uri_bytes(uri: str, *, shown: str) -> bytes:
    header, comma, payload = uri.partition(",")
    if not comma:
        raise ImageError(f"image {shown} has no comma: write data:image/png;base64,...")
    if not header.endswith(";base64"):
        return unquote_to_bytes(payload)
    try:
        return base64.b64decode("".join(unquote(payload).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"image {shown} is not valid base64 ({error}): encode it anew") from None


def _check_turns(turns: Sequence[Message]) -> None:
    if not turns:
        raise PromptError(f"got {len(turns)} messages: give at least one user message")
    for index, turn in enumerate(turns):
        expected = ASSISTANT if index % 2 else USER
        if turn["role"] != expected:
            raise PromptError(
                f"turn {index + 1} is the {turn['role'].lower()}'s, wanted the "
                f"{expected.lower()}'s: user and assistant take turns, the user first"
            )
        if not turn["content"].strip() and index < len(turns) - 1:
            raise PromptError(f"turn {index + 1} ({turn['role'].lower()}) is empty: leave it out")
