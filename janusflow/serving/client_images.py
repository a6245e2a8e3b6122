"""Images that clients send, opened within limits and aside: the scheduler's thread never waits.

No path is opened, whatever a client writes: an image is a data: URI, base64, bytes, or an address
on a host that the server was told of.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from PIL import Image

from janusflow.config.errors import PromptError
from janusflow.config.serving import ServingConfig
from janusflow.processing.image_files import image_from_url, open_image
from janusflow.serving.remote_images import fetch_image, is_web

Value = TypeVar("Value")
NUM_THREADS = 2
"""That open images: how many large ones are in memory at once."""


class ClientImages:
    """Opens images; `in_thread` does so without holding up others.

    Args:
        config: limits, and the hosts that images may be fetched from.
    """

    def __init__(self, config: ServingConfig) -> None:
        self._config = config
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="janusflow images")

    async def in_thread(self, function: Callable[..., Value], *given: Any) -> Value:
        """Call a function that opens images, in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *given)

    def open(self, given: str | bytes, *, alpha: bool = False) -> Image.Image:
        """An image in RGB; blocks.

        Args:
            given: a data: URI, base64, an address, or a file's bytes.
            alpha: True gives RGBA if parts may be see-through.

        Raises:
            PromptError: it is a path, or an address whose host is not allowed.
            ImageError: it is no image, or too large.
        """
        data = given
        if isinstance(given, str):
            if is_web(given):
                hosts, limit = self._config.image_hosts, self._config.max_body_bytes
                data = fetch_image(given, hosts=hosts, max_bytes=limit)
            else:
                data = image_from_url(given, allow_paths=False)
        if not isinstance(data, bytes):
            raise PromptError(f"image {given!r:.80} is no data: URI: send one.")
        return open_image(data, max_pixels=self._config.max_pixels, alpha=alpha)

    def close(self) -> None:
        """Open no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
