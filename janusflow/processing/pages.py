"""What our HTML pages share: their style, and images inside the page, which needs no network."""

import base64
import io
from html import escape
from pathlib import Path

from PIL import Image

STYLE = Path(__file__).with_name("page.css")


def read_style() -> str:
    """CSS for the head of a page."""
    return STYLE.read_text(encoding="utf-8")


def embedded(image: Image.Image, *, alt: str) -> str:
    """An <img> that holds the image as PNG."""
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{data}" alt="{escape(alt, quote=True)}" '
        f'width="{image.width}" height="{image.height}">'
    )
