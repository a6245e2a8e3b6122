"""Messages as clients send them, ready for the scheduler: images opened, limits kept."""

from collections.abc import Mapping, Sequence
from typing import Any

from janusflow.config.serving import ServingConfig
from janusflow.processing.conversations import IMAGE_KEYS
from janusflow.processing.images import JanusFlowImageProcessor
from janusflow.serving.chat.types import Message
from janusflow.serving.client_images import ClientImages
from janusflow.serving.errors import ApiError


def prepare_messages(
    messages: Sequence[Message],
    images: ClientImages,
    processor: JanusFlowImageProcessor,
    config: ServingConfig,
) -> list[dict[str, Any]]:
    """Messages for `submit_question`, with images no larger than the tower sees them; blocks.

    Raises:
        ApiError: there are more images or characters than the server takes.
        PromptError, ImageError: an image is refused or broken.
    """
    said = [each.model_dump(exclude_unset=True) for each in messages]
    parts = [part for each in said for part in _parts(each)]
    shown = [part for part in parts if part.get("type") in IMAGE_KEYS]
    texts = [each.get("content") for each in said] + [part.get("text") for part in parts]
    length = sum(len(text) for text in texts if isinstance(text, str))
    for what, found, limit in (
        ("images", len(shown), config.max_images_read),
        ("characters of text", length, config.max_text),
    ):
        if found > limit:
            raise ApiError(
                400,
                f"messages: {found} {what}, and this server takes {limit} in one request.",
                param="messages",
                code="context_length_exceeded",
            )
    for part in shown:
        _open(part, images, processor)
    return said


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _open(part: dict[str, Any], images: ClientImages, processor: JanusFlowImageProcessor) -> None:
    """Put the image itself in place of where it is."""
    held = [part[key] for key in IMAGE_KEYS[part["type"]] if part.get(key) is not None]
    url = held[0].get("url") if held and isinstance(held[0], Mapping) else held and held[0]
    if isinstance(url, str):
        image = processor.square(images.open(url))
        part.clear()
        part |= {"type": "image", "image": image}
