"""Servers on a socket, and calls of chat through OpenAI's client, also with images."""

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI
from openai import OpenAI
from PIL import Image

from janusflow.serving.server import Server

QUESTION = [{"role": "user", "content": "What is a star?"}]
HOT = {"temperature": 1.0, "max_tokens": 12}


def ask(client: OpenAI, messages: Any = QUESTION, **settings: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "tiny", "messages": messages, "max_tokens": 8, **settings}
    )


def text_of(answer: Any) -> str:
    return answer.choices[0].message.content


def image(colour: str, size: tuple[int, int] = (90, 50)) -> Image.Image:
    return Image.new("RGB", size, colour)


def image_part(shown: Image.Image, **more: Any) -> dict[str, Any]:
    content = io.BytesIO()
    shown.save(content, format="PNG")
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}", **more}}


def text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def streamed(chunks: Any, index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices).strip()


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """The address of a server that runs in a thread of its own."""
    server = Server(app)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server has not started"
        thread.join(0.01)
    (listener,) = server.servers
    port = listener.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30.0)
