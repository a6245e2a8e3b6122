"""The page in headless Chromium: it loads, then draws and answers without a network."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import janusflow
from janusflow.inference.pipeline import JanusFlow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_MS = 240_000.0
MOST_BYTES = 30e6
PHONE = {"width": 375, "height": 800}
VARIATION_STRENGTH = 0.6  # src/page.js


@dataclass(eq=False, kw_only=True)
class Visitor:
    """Someone at the page."""

    page: Any
    context: Any
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of every file that came over the network."""
    troubles: list[str] = field(default_factory=list)

    def wait_until_free(self) -> None:
        self.page.wait_for_selector("#draw:enabled", timeout=PATIENCE_MS)

    def load(self) -> None:
        self.page.wait_for_function("document.querySelector('#load').dataset.size")
        self.page.click("#load")
        self.wait_until_free()

    def draw(self, prompt: str, **fields: str) -> np.ndarray:
        """Draw, and give the pixels."""
        self.page.fill("#prompt", prompt)
        self.page.evaluate("document.querySelector('details').open = true")
        for name, value in fields.items():
            is_choice = name == "solver"
            (self.page.select_option if is_choice else self.page.fill)(f"#{name}", value)
        self.page.click("#draw")
        self.wait_until_free()
        return self.pixels()

    def pixels(self) -> np.ndarray:
        data = self.page.evaluate(
            """() => { const canvas = document.querySelector("#drawing");
              const { width, height } = canvas;
              return [...canvas.getContext("2d").getImageData(0, 0, width, height).data]; }"""
        )
        side = round((len(data) / 4) ** 0.5)
        return np.array(data, dtype=int).reshape(side, side, 4)[..., :3]

    def ask(self, question: str) -> str:
        self.page.fill("#question", question)
        self.page.click("#ask")
        self.wait_until_free()
        return self.page.inner_text("#answers dd:last-child")

    @property
    def status(self) -> str:
        return self.page.inner_text("#status")


def visitor_of(browser: Any, **options: Any) -> Visitor:
    context = browser.new_context(**{"locale": "en-US", **options})
    page = context.new_page()
    page.set_default_timeout(30_000.0)
    visitor = Visitor(page=page, context=context)
    page.on("pageerror", lambda error: visitor.troubles.append(str(error)))

    def note(response: Any) -> None:
        if not response.from_service_worker:
            length = int(response.headers.get("content-length", 0))
            visitor.sizes[response.url.split("/", 3)[3]] = length

    context.on("response", note)
    return visitor


@pytest.fixture(scope="module")
def visitor(browser: Any, server: Any) -> Iterator[Visitor]:
    """At the loaded page, from which on nothing is served."""
    visitor = visitor_of(browser)
    visitor.page.goto(server.url)
    visitor.load()
    server.is_gone = True
    yield visitor
    server.is_gone = False
    visitor.context.close()
    assert visitor.troubles == []


@pytest.fixture(scope="module")
def jf() -> JanusFlow:
    return janusflow.load("mini", device="cpu")


def apart(found: np.ndarray, expected: Image.Image) -> int:
    """Largest difference in levels; of few pixels more than none."""
    levels = np.abs(found - np.asarray(expected, dtype=int))
    assert (levels > 0).mean() < 0.01
    return int(levels.max())


def test_all_that_is_loaded_is_small(visitor: Visitor):
    assert visitor.sizes["model/weights.bin"] > 10e6
    assert visitor.sizes["runtime/ort-wasm-simd-threaded.wasm"] > 10e6
    assert sum(visitor.sizes.values()) < MOST_BYTES


@pytest.mark.parametrize(
    ("prompt", "fields", "settings"),
    [
        ("a red circle left of a blue square", {"seed": "7"}, {}),
        (
            "초록색 별 두 개",
            {"seed": "4294967303", "solver": "heun", "steps": "6", "guidance": "3"},
            {"solver": "heun", "steps": 6, "guidance": 3.0},
        ),
        (
            "two green stars",
            {"seed": "9", "negative": "a blue background", "steps": "8"},
            {"negative_prompt": "a blue background", "steps": 8},
        ),
    ],
    ids=["english", "korean-heun", "negative"],
)
def test_a_drawing_is_the_packages_for_the_same_seed(
    visitor: Visitor, jf: JanusFlow, prompt: str, fields: dict[str, str], settings: Any
):
    """Planned first, as there: plans are equal, and no level is more than one apart."""
    defaults = {"solver": "euler", "steps": "30", "guidance": "2", "negative": ""}
    found = visitor.draw(prompt, **{**defaults, **fields})
    (expected,) = jf.generate(prompt, seed=int(fields["seed"]), **settings)
    assert visitor.page.inner_text("#plan") == expected.info["plan"]
    assert apart(found, expected) <= 1


def test_a_drawing_without_a_plan_and_its_variation(visitor: Visitor, jf: JanusFlow):
    page = visitor.page
    page.evaluate("document.querySelector('details').open = true")
    page.uncheck("#plans")
    prompt = "a yellow heart"
    found = visitor.draw(prompt, seed="11", steps="10", solver="euler", guidance="2", negative="")
    (expected,) = jf.generate(prompt, seed=11, steps=10, plan="never")
    assert apart(found, expected) <= 1
    page.check("#plans")
    page.click("#vary")
    visitor.wait_until_free()
    (varied,) = jf.generate(
        prompt,
        seed=int(page.input_value("#seed")),
        steps=10,
        init_image=Image.fromarray(found.astype(np.uint8)),
        strength=VARIATION_STRENGTH,
    )
    assert apart(visitor.pixels(), varied) <= 1


@pytest.mark.parametrize("question", ["What is in the image?", "그림에 무엇이 있나요?"])
def test_an_answer_about_a_drawing_is_the_packages(visitor: Visitor, jf: JanusFlow, question: str):
    found = visitor.draw("a red circle left of a blue square", seed="3", steps="8")
    visitor.page.click("#see")
    expected = jf.ask(Image.fromarray(found.astype(np.uint8)), question)
    assert visitor.ask(question) == expected


def test_an_answer_about_a_file_is_the_packages(visitor: Visitor, jf: JanusFlow, tmp_path: Path):
    """Larger than the model's images and not square, so that it is resized and padded."""
    image = Image.new("RGB", (200, 150), "white")
    ImageDraw.Draw(image).ellipse((60, 30, 140, 110), fill=(220, 30, 40))
    image.save(tmp_path / "circle.png")
    visitor.page.set_input_files("#pick", tmp_path / "circle.png")
    visitor.page.wait_for_function("document.querySelector('#seen').width === 200")
    for question in ("What is in the image?", "원은 무슨 색인가요?"):
        assert visitor.ask(question) == jf.ask(tmp_path / "circle.png", question)


def test_cancelling_leaves_the_last_drawing_and_a_page_that_draws(visitor: Visitor):
    before = visitor.draw("a green star", seed="1", steps="3")
    visitor.page.fill("#steps", "100")
    visitor.page.click("#draw")
    visitor.page.wait_for_function("document.querySelector('#draw-progress').value > 0")
    visitor.page.click("#cancel")
    visitor.wait_until_free()
    assert visitor.status == "Cancelled."
    assert (visitor.pixels() == before).all()
    assert (visitor.draw("a green star", seed="1", steps="3") == before).all()


def test_mistakes_are_sentences_in_the_language_of_the_page(visitor: Visitor, tmp_path: Path):
    page = visitor.page
    visitor.draw("a <image_beg> star", steps="2")
    assert visitor.status.startswith("<image_beg> is a mark that belongs to the model.")
    page.click("#language")
    assert visitor.status.startswith("<image_beg>은(는) 모델이 쓰는 표시입니다.")
    page.click("#language")
    page.evaluate("document.querySelector('#prompt').removeAttribute('maxlength')")
    visitor.draw("별 " * 1000, steps="2")
    assert visitor.status == "This text is too long for the model. Make it shorter."
    (tmp_path / "no.png").write_text("no image")
    page.set_input_files("#pick", tmp_path / "no.png")
    page.wait_for_function("document.querySelector('#status').textContent.includes('not an image')")


def test_the_page_opens_again_without_a_network(visitor: Visitor):
    """The service worker has kept all of it."""
    before = visitor.draw("a green star", seed="1", steps="3")
    visitor.page.reload()
    visitor.wait_until_free()
    assert (visitor.draw("a green star", seed="1", steps="3") == before).all()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_everyone(visitor: Visitor, scheme: str):
    """No sideways scrolling, and nothing that axe-core finds, in both languages."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visitor.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    for _ in ("en", "ko"):
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        found = axe.run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
        page.click("#language")


def test_a_network_that_is_gone_is_told_and_loading_can_be_tried_again(
    browser: Any, server: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server, "is_gone", False)
    visitor = visitor_of(browser, service_workers="block")
    visitor.page.goto(server.url)
    visitor.page.wait_for_function("document.querySelector('#load').dataset.size")
    monkeypatch.setattr(server, "is_gone", True)
    visitor.page.click("#load")
    visitor.page.wait_for_function("document.querySelector('#status').className.includes('bad')")
    assert visitor.status.endswith("Check the network and load again.")
    monkeypatch.setattr(server, "is_gone", False)
    visitor.load()
    assert visitor.status == "Ready."
    visitor.context.close()
