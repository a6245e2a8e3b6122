"""Messages in OpenAI's shape mean what the release's mean; what fits neither is refused."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from janusflow.config.errors import ImageError, PromptError
from janusflow.processing.conversations import (
    read_conversation,
    with_images,
)
from janusflow.processing.image_files import image_from_url, open_image

TAG = "<image>"
RED = Image.new("RGB", (2, 2), "red")


def read(*messages: dict[str, Any], **options: bool):
    return read_conversation(messages, image_tag=TAG, **options)


def message(role: str, content: object) -> dict[str, Any]:
    return {"role": role, "content": content}


def png_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_both_shapes_of_a_conversation_read_alike():
    theirs = read(message("User", f"{TAG}\nWhat?"), message("Assistant", "A cat."))
    openai = read(
        message("user", [{"type": "image"}, {"type": "text", "text": "What?"}]),
        message("assistant", [{"type": "text", "text": "A cat."}]),
    )
    assert theirs == openai
    assert theirs.images == (None,)


def test_the_system_message_is_kept_apart_wherever_it_stands():
    assert read(message("user", "hi")).system_prompt is None
    for role in ("system", "developer", "System"):
        spoken = read(message(role, "Be kind."), message("user", "hi"), message(role, "Be brief."))
        assert spoken.system_prompt == "Be kind.\nBe brief."
        assert [turn["role"] for turn in spoken.with_system()] == ["system", "User"]


def test_consecutive_messages_of_a_role_are_one_turn():
    two = read(message("user", [{"type": "image"}]), message("user", "What?"))
    assert two == read(message("user", [{"type": "image"}, {"type": "text", "text": "What?"}]))
    answers = read(message("user", "a"), message("assistant", "b"), message("assistant", "c"))
    assert answers.messages[1] == {"role": "Assistant", "content": "b\nc"}


@dataclass
class Part:
    text: str
    type: str = "text"


class Said:
    """A message of a client library: attributes, and a way to become a dict."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields

    def model_dump(self) -> dict[str, Any]:
        return self.fields


def test_messages_and_parts_may_be_objects():
    simple = SimpleNamespace(role="user", content=[Part("hi")])
    answer = Said(role="assistant", content=None, refusal="no", tool_calls=None, audio=None)
    spoken = read(simple, answer)
    assert [turn["content"] for turn in spoken.messages] == ["hi", "no"]
    assert spoken.is_answered
    assert not read(simple, Said(role="assistant", content=None)).is_answered


def test_parts_of_newer_interfaces_are_read():
    spoken = read(
        message("user", [{"type": "input_text", "text": "a"}, {"type": "input_image"}]),
        message("assistant", [{"type": "refusal", "refusal": "no"}]),
    )
    assert [turn["content"] for turn in spoken.messages] == [f"a\n{TAG}", "no"]
    base64_part = {"type": "image", "base64": png_uri(RED).partition(",")[2]}
    (image,) = read(message("user", [base64_part])).images
    assert open_image(image).size == RED.size


def test_images_keep_their_reading_order_across_parts_and_turns(tmp_path: Path):
    path = tmp_path / "blue.png"
    Image.new("RGB", (2, 2), "blue").save(path)
    spoken = read(
        message(
            "user",
            [
                {"type": "image_url", "image_url": {"url": png_uri(RED), "detail": "low"}},
                {"type": "text", "text": f"then {TAG}"},
                {"type": "image", "image": str(path)},
            ],
        ),
        message("assistant", "ok"),
        message("user", [{"type": "image_url", "image_url": f"file://{path}"}]),
    )
    green = Image.new("RGB", (2, 2), "lime")
    images = with_images(spoken, [green], number=1, image_tag=TAG)
    colours = [open_image(image).getpixel((0, 0)) for image in images]
    assert colours == [(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 255)]
    assert spoken.messages[0]["content"] == f"{TAG}\nthen {TAG}\n{TAG}"


@pytest.mark.parametrize(
    "transform",
    [
        str,
        lambda uri: uri.replace("+", "%2B") + "\n",
        lambda uri: uri.rstrip("="),
        lambda uri: uri.replace("data:image/png;base64", "DATA:IMAGE/PNG;BASE64"),
        lambda uri: uri.partition(",")[2],
        lambda uri: uri.partition(",")[2].rstrip("=").replace("+", "-").replace("/", "_"),
    ],
)
def test_data_uris_and_base64_are_decoded(transform: Any):
    assert open_image(image_from_url(transform(png_uri(RED)))).tobytes() == RED.tobytes()


def test_paths_from_a_network_are_refused():
    for url in ("/etc/passwd", "file:///etc/passwd", "../x.png"):
        with pytest.raises(PromptError, match="file path"):
            image_from_url(url, allow_paths=False)
        part = {"type": "image", "image": Path(url)}
        with pytest.raises(PromptError, match="file path"):
            read(message("user", [part]), allow_paths=False)
    assert open_image(image_from_url(png_uri(RED), allow_paths=False)).size == (2, 2)


@pytest.mark.parametrize(
    ("url", "error", "expected"),
    [
        ("https://example.org/a.png", PromptError, "not fetched"),
        ("data:image/png;base64", ImageError, "no comma"),
        ("data:image/png;base64,???", ImageError, "not valid base64"),
    ],
)
def test_unusable_urls_are_refused(url: str, error: type[Exception], expected: str):
    with pytest.raises(error, match=expected):
        image_from_url(url)


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], "0 messages"),
        ([message("system", "only")], "0 messages"),
        ([message("assistant", "hi")], "turn 1 is the assistant's"),
        ([message("tool", "b")], "role 'tool'|calls no tools"),
        ([message("user", "a"), message("assistant", None) | {"tool_calls": [1]}], "no tools"),
        ([message("robot", "hi")], "role 'robot'"),
        ([message("user", 3)], "content 3"),
        ([message("user", None)], "content None"),
        (["hi"], "message 'hi'"),
        ([{"role": "user"}], "give a dict"),
        ([message("user", [{"type": "audio"}])], "content part"),
        ([message("user", [{"type": "text"}])], "content part"),
        ([message("user", ["hi"])], "content part"),
        ([message("user", [{"type": "image", "image": 3}])], "int as image"),
        ([message("user", " ")], "turn 1 .user. is empty"),
        ([message("user", "a"), message("assistant", ""), message("user", "b")], "turn 2"),
        ([message("user", "a"), message("assistant", TAG)], "users show images"),
    ],
)
def test_messages_that_fit_no_shape_are_refused(messages: list[Any], expected: str):
    with pytest.raises(PromptError, match=expected) as error:
        read(*messages)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": [{"type": "image", "image": "A" * 470_000}]}],
        [{"role": "user", "content": [{"type": "image", "image": "data:" + "A" * 470_000}]}],
        [{"role": "user", "content": [{"type": "sound", "data": "A" * 470_000}]}],
        [{"role": "x" * 470_000, "content": ""}],
        [{"role": "user", "content": {"x": "A" * 470_000}}],
    ],
)
def test_an_error_message_is_short_however_long_the_message_was(messages: list[Any]):
    with pytest.raises((ImageError, PromptError)) as error:
        [open_image(image) for image in read(*messages).images]
    assert len(str(error.value)) < 400
