"""Make the screenshots of the page that the documentation shows: screenshots.py FOLDER."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from page_visitor import Visitor, chromium, come, serving
from playwright.sync_api import expect

import janusflow
from janusflow.config.serving import ServingConfig

PATIENCE_MS = 300_000.0
"""No test: a busy machine may take its time."""
SIZES = {"": (1280, 900), "-phone": (360, 740)}
PROMPTS = {"light": "a red circle and a blue star", "dark": "노란 하트와 초록색 삼각형"}
QUESTIONS = {
    "light": ("What is in this picture?", "How many objects are there?"),
    "dark": ("이 그림을 설명해 주세요.", "도형이 몇 개 있나요?"),
}
LANGUAGES = {"light": "en-US", "dark": "ko-KR"}


def show(visitor: Visitor, name: str, folder: Path) -> None:
    """Draw, look, paint, ask and have a drawing explained, with a screenshot of each."""
    scheme = "dark" if name.endswith("-dark") else "light"
    page = visitor.visit()

    def shoot(what: str) -> None:
        page.screenshot(path=folder / f"page-{what}{name}.png")

    visitor.draw(PROMPTS[scheme], seed=11, count=2)
    visitor.draw(PROMPTS[scheme], seed=3, count=4)
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    if "phone" in name:
        page.click("#settings summary")
        page.locator("#frames").scroll_into_view_if_needed()
    shoot("draw")
    page.locator(".thumb").first.click()
    expect(page.locator("#viewer")).to_be_visible()
    shoot("viewer")
    page.locator("#viewer-actions button").nth(4).click()
    for key in ("ArrowLeft", "ArrowLeft", "Space", "ArrowUp", "Space"):
        page.keyboard.press(key)
    shoot("brush")
    page.keyboard.press("Escape")
    page.locator(".frame button.small").first.click()
    for question in QUESTIONS[scheme]:
        page.fill("#question", question)
        page.keyboard.press("Enter")
        expect(page.locator("#see-ask")).to_be_visible()
    shoot("see")
    page.click("#tab-explain")
    page.click("#explain-go")
    expect(page.locator("#explain-parts")).to_be_visible()
    page.fill("#explain-step", "3")
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    page.screenshot(path=folder / f"page-how-it-works{name}.png", full_page=True)


def main(folder: Path) -> None:
    """One set for each width, in the colours and languages that there are."""
    with serving(janusflow.load("mini"), ServingConfig()) as site, chromium() as browser:
        expect.set_options(timeout=PATIENCE_MS)
        for scheme, language in LANGUAGES.items():
            for suffix, (width, height) in SIZES.items():
                visitor = come(
                    browser,
                    site.url,
                    steps=30,
                    locale=language,
                    color_scheme=scheme,
                    viewport={"width": width, "height": height},
                    has_touch=suffix == "-phone",
                )
                show(visitor, suffix + ("-dark" if scheme == "dark" else ""), folder)
                visitor.context.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
