"""Visitors of the web page: headless Chromium, a server that can go and come back, and a person."""

import base64
import io
import json
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from janusflow.config.serving import ServingConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving.app import create_app
from janusflow.serving.engine import Engine
from janusflow.serving.server import Server

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
"""The system's own; Playwright's download is not needed."""
STEPS = 4
"""Enough for previews, and quick."""
PATIENCE_MS = 30_000.0
READ_HISTORY = """() => new Promise((resolve, reject) => {
  const opening = indexedDB.open("janusflow", 1);
  opening.onerror = () => reject(opening.error);
  opening.onsuccess = () => {
    const reading = opening.result.transaction("drawings").objectStore("drawings").getAll();
    reading.onsuccess = async () => {
      const asText = async ({ image, settings, start }) => {
        const bytes = new Uint8Array(await image.arrayBuffer());
        const mask = start && start.mask && new Uint8Array(await start.mask.arrayBuffer());
        const text = (each) => each && btoa(String.fromCharCode(...each));
        return { settings, image: text(bytes), mask: text(mask) };
      };
      opening.result.close();
      resolve(await Promise.all(reading.result.reverse().map(asText)));
    };
  };
})"""


class Site:
    """A server of the page that can go and come back under the same address."""

    def __init__(self, jf: JanusFlow, config: ServingConfig) -> None:
        self._jf = jf
        self._config = config

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._config.port}/"

    def start(self) -> None:
        app = create_app(self._jf, self._config)
        self.engine: Engine = app.state.engine
        self._server = Server(app)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive(), "the server has not started"
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30.0)
        assert not self._thread.is_alive()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(jf: JanusFlow, config: ServingConfig) -> Iterator[Site]:
    """A site for the length of a block, at a free port."""
    site = Site(jf, replace(config, port=free_port()))
    site.start()
    try:
        yield site
    finally:
        site.stop()


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. Playwright keeps an event loop in this thread meanwhile."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


class Visitor:
    """Someone with a browser; at the end, nothing may have gone wrong in the page."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.troubles: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        # A request that fails is told to the console by the browser itself.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.troubles.append(message.text)

    def visit(self, tab: str = "draw") -> Page:
        self.page.goto(f"{self.url}#{tab}")
        expect(self.page.locator("#model")).to_have_text("mini")
        return self.page

    def draw(self, prompt: str, **fields: Any) -> None:
        """Fill the form in, draw, and wait for the end."""
        self.open_settings()
        for name, value in fields.items():
            self.page.fill(f"#{name}", str(value))
        self.page.fill("#prompt", prompt)
        self.page.keyboard.press("Control+Enter")
        self.wait()

    def open_settings(self) -> None:
        if self.page.locator("#settings").get_attribute("open") is None:
            self.page.click("#settings summary")

    def wait(self, said: str = r"stage\.done") -> None:
        """Until the drawing is done, or other words are said: by their key, in any language."""
        status = self.page.locator("#stage-status")
        expect(status).to_have_attribute("data-say", re.compile(said))
        expect(self.page.locator("#draw-go")).to_be_visible()

    def history(self) -> list[dict[str, Any]]:
        """What the browser keeps, newest first; images and masks opened."""
        kept = self.page.evaluate(READ_HISTORY)
        return [each | {key: opened(each[key]) for key in ("image", "mask")} for each in kept]


def opened(text: str | None) -> Image.Image | None:
    return None if text is None else Image.open(io.BytesIO(base64.b64decode(text)))


class Invite(Protocol):
    """Lets a visitor come; the options are those of a browser's context."""

    def __call__(self, url: str = ..., **options: Any) -> Visitor: ...


def come(browser: Browser, url: str, *, steps: int = STEPS, **options: Any) -> Visitor:
    """A visitor with a browser of their own, whose form draws in few steps."""
    context = browser.new_context(**{"locale": "en-US", **options})
    settings = json.dumps({"num_inference_steps": steps})
    context.add_init_script(f"localStorage['janusflow.settings'] ??= {json.dumps(settings)};")
    return Visitor(context, url)
