"""Images as clients send them, and answers as they come back."""

import base64
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from openai import OpenAI
from PIL import Image, ImageDraw

STEPS = {"num_inference_steps": 4, "seed": 7}
HALF = Image.new("RGB", (64, 64), "white")
ImageDraw.Draw(HALF).rectangle((0, 0, 31, 63), fill="red")
MASK = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
ImageDraw.Draw(MASK).rectangle((32, 0, 63, 63), fill=(0, 0, 0, 0))


def png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()


def data_uri(image: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


def opened(b64_json: str | None) -> Image.Image:
    assert b64_json is not None
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


def same(image: Image.Image, other: Image.Image) -> bool:
    return image.convert("RGB").tobytes() == other.convert("RGB").tobytes()


def level_difference(image: Image.Image, other: Image.Image) -> int:
    """The largest: other images beside it round a float32 sum otherwise."""
    values = zip(image.convert("RGB").tobytes(), other.convert("RGB").tobytes(), strict=True)
    return max(abs(a - b) for a, b in values)


def events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The data of server-sent events, each checked to be named as its type."""
    name = None
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: {"):
            told = json.loads(line.removeprefix("data: "))
            assert name == ("error" if "error" in told else told["type"])
            yield told


def draw(client: OpenAI, **more: Any) -> Any:
    """Draw a star; more says what else is asked for."""
    extra = STEPS | more.pop("extra_body", {})
    return client.images.generate(prompt="a star", extra_body=extra, **more)
