"""`janusflow demo`: the page it makes."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from click.testing import Result

from janusflow.cli.demo_page.showcase import NUM_SCENES, PROMPTS, QUESTIONS_PER_SCENE
from janusflow.inference.drawing.metadata import read_record

Run = Callable[..., Result]


class Page(HTMLParser):
    """Images, texts and every address of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.images: list[str] = []
        self.addresses: list[str] = []
        self.classes: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "img":
            self.images.append(values["src"])
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        self.classes += values.get("class", "").split()


def test_the_page_shows_everything_and_needs_no_network(run: Run, tiny_folder: Path):
    result = run("demo", "-m", tiny_folder, "--steps", 4, "-o", "show", "--quiet")
    assert result.exit_code == 0, result.output
    assert "show/index.html" in result.stdout
    assert "generate" in result.stdout.partition("Next")[2]
    html = Path("show/index.html").read_text(encoding="utf-8")
    page = Page(html)
    moments = 4 + 1  # every step of four, and the finished image
    assert len(page.images) == len(PROMPTS) + 2 * moments + len(PROMPTS) + NUM_SCENES
    assert all(address.startswith("data:") for address in page.addresses)
    num_questions = len(PROMPTS) + NUM_SCENES * QUESTIONS_PER_SCENE
    assert page.classes.count("right") + page.classes.count("wrong") == num_questions
    assert all(prompt in html for prompt in PROMPTS)
    records = [read_record(Path(f"show/drawing-{i + 1}.png")) for i in range(len(PROMPTS))]
    assert [r.prompt for r in records if r] == list(PROMPTS)
