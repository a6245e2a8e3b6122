"""How it works: what a visitor sees of one drawing, by mouse, finger and keyboard."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_visitor import Invite, Visitor
from playwright.sync_api import Page, Route, expect

pytestmark = pytest.mark.slow
PLAN = "a red circle in the top left, a blue square on the right"
SHARES = """(selector) => [...document.querySelectorAll(selector)].map(
  (node) => Number(getComputedStyle(node).getPropertyValue("--share")))"""
COLOURS = """(selector) => {
  // The mean colour of every place of an 8 by 8 grid.
  const canvas = Object.assign(document.createElement("canvas"), { width: 8, height: 8 });
  const brush = canvas.getContext("2d");
  brush.imageSmoothingQuality = "high";
  brush.drawImage(document.querySelector(selector), 0, 0, 8, 8);
  const { data } = brush.getImageData(0, 0, 8, 8);
  return Array.from({ length: 64 }, (_, at) => [...data.slice(4 * at, 4 * at + 3)]);
}"""


def explained(visitor: Visitor, prompt: str | None = None) -> Page:
    page = visitor.visit("explain")
    if prompt is not None:
        page.fill("#explain-prompt", prompt)
    page.click("#explain-go")
    expect(page.locator("#explain-status")).to_contain_text(
        re.compile("Ready|준비"), timeout=90_000
    )
    return page


def go_to(page: Page, step: int) -> None:
    page.locator("#explain-step").fill(str(step))


def image_of(page: Page, name: str) -> str | None:
    return page.locator(f"#explain-{name}").get_attribute("src")


def violations(page: Page) -> str:
    results = Axe().run(page)
    return results.generate_report() if results.violations_count else ""


def test_the_slider_goes_from_noise_to_the_picture(visitor: Visitor):
    page = explained(visitor)
    expect(page.locator("#explain-step-line")).to_have_text("Step 0 of 20")
    noise, first_goal = image_of(page, "state"), image_of(page, "end")
    assert noise != first_goal
    slider = page.locator("#explain-step")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#explain-step-line")).to_have_text("Step 1 of 20")
    assert slider.get_attribute("aria-valuetext") == "Step 1 of 20"
    assert image_of(page, "state") != noise
    page.keyboard.press("End")
    finished = image_of(page, "state")
    assert finished == image_of(page, "end") == image_of(page, "guided") != first_goal
    images = page.locator("#explain-parts img")
    assert all(images.nth(at).get_attribute("alt") for at in range(images.count()))


def test_the_pictures_without_words_and_with_them_begin_with_the_same_noise(visitor: Visitor):
    asked: list[str | None] = []
    visitor.page.on(
        "request",
        lambda request: asked.append(request.post_data) if "explanations" in request.url else None,
    )
    page = explained(visitor, "빨간 원")
    names = ("without", "unguided", "guess-without", "guess-unguided")
    before = [image_of(page, name) for name in names]
    assert len({*before}) == len(names)
    page.click("#explain-again")
    expect(page.locator("#explain-status")).to_contain_text("Drawing")
    expect(page.locator("#explain-status")).to_contain_text("Ready", timeout=90_000)
    assert not {*before} & {image_of(page, name) for name in names}
    assert len(asked) == 2
    assert len({*asked}) == 2


def test_a_word_lights_up_its_thing_and_a_place_tells_its_words(visitor: Visitor):
    page = explained(visitor, "a red circle left of a blue square")
    expect(page.locator("#explain-plan")).to_contain_text(PLAN)
    go_to(page, 20)
    for word, brighter, darker in (("circle", 0, 2), ("square", 2, 0)):
        chip = page.locator(".word", has_text=word)
        chip.click()
        expect(chip).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#explain-attends")).to_contain_text(word)
        shares = page.evaluate(SHARES, "#explain-places .place")
        colours = page.evaluate(COLOURS, "#explain-attention-image")
        place = shares.index(max(shares))
        assert colours[place][brighter] > colours[place][darker] + 50
    # The place that is lit by the square reads the square most, also with the keyboard.
    page.locator("#explain-places .place").first.focus()
    row, column = divmod(place, 8)
    for _ in range(row):
        page.keyboard.press("ArrowDown")
    for _ in range(column):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#explain-places .place").nth(place)).to_be_focused()
    expect(page.locator("#explain-attends")).to_contain_text(re.compile(r"reads: \w+ \d+%"))
    words = page.evaluate(SHARES, ".word")
    assert max(words) == 1.0
    assert words[page.locator(".word").all_inner_texts().index("square")] > 0.5
    page.keyboard.press("Enter")
    page.locator("#explain-go").focus()
    expect(page.locator("#explain-attends")).to_contain_text("This place reads")


def test_the_chart_marks_the_step_and_has_its_numbers_in_a_table(visitor: Visitor):
    page = explained(visitor)
    go_to(page, 0)
    marker = page.locator("#explain-chart .marker")
    start = float(marker.get_attribute("x1") or "nan")
    go_to(page, 10)
    assert float(marker.get_attribute("x1") or "nan") == pytest.approx((start + 584) / 2, abs=1)
    assert page.locator("#explain-chart polyline").count() == 3
    expect(page.locator("#explain-table tr")).to_have_count(20)
    page.click("#explain-parts summary")
    first = page.locator("#explain-table tr").first.locator("th, td").all_inner_texts()
    assert first[0] == "0.00"
    without, words, drawn = map(float, first[1:])
    assert without < words < drawn  # guidance goes on beyond the words
    label = page.locator("#explain-chart").get_attribute("aria-label") or ""
    assert f"{drawn:.2f} at first" in label


def test_the_agreement_of_repa_grows(visitor: Visitor):
    page = explained(visitor)
    line = page.locator("#explain-alignment-line")
    agreement = []
    for step in (0, 20):
        go_to(page, step)
        agreement.append(float(re.findall(r"\d\.\d+", line.inner_text())[0]))
    assert agreement[0] < agreement[1] <= 1.0


def test_a_model_without_repa_shows_no_map_of_it(visitor: Visitor):
    def without_head(route: Route) -> None:
        answer = route.fetch(timeout=90_000)
        told = answer.json()
        for step in told["steps"]:
            step["alignment"] = None
        route.fulfill(response=answer, json=told)

    visitor.page.route("**/explanations", without_head)
    page = explained(visitor)
    expect(page.locator("#explain-attention")).to_be_visible()
    expect(page.locator("#explain-alignment")).to_be_hidden()
    go_to(page, 3)


def test_it_plays_by_itself_unless_motion_is_to_be_reduced(invite: Invite):
    page = explained(invite())
    page.click("#explain-play")
    expect(page.locator("#explain-step-line")).to_have_text("Step 2 of 20")
    page.click("#explain-play")
    expect(page.locator("#explain-play")).to_have_text("Play")
    stopped = page.locator("#explain-step").input_value()
    page.wait_for_timeout(800)
    assert page.locator("#explain-step").input_value() == stopped
    still = explained(invite(reduced_motion="reduce"))
    expect(still.locator("#explain-play")).to_be_hidden()


def test_it_can_be_cancelled_and_errors_are_sentences(visitor: Visitor):
    page = visitor.visit("explain")
    page.click("#explain-go")
    expect(page.locator("#explain-go")).to_have_text("Cancel")
    page.click("#explain-go")
    expect(page.locator("#explain-status")).to_have_text("Cancelled.")
    expect(page.locator("#explain-go")).to_have_text("Show me")
    page.route("**/explanations", lambda route: route.fulfill(status=429))
    page.click("#explain-go")
    expect(page.locator("#explain-error")).to_contain_text("The server has too much to do")
    expect(page.locator("#explain-parts")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_and_nothing_is_wider_than_a_phone(invite: Invite, scheme: str):
    page = explained(invite(color_scheme=scheme, reduced_motion="reduce", locale="ko-KR"))
    assert page.locator("h2").filter(has_text="노이즈").is_visible()
    page.locator(".word").first.click()
    page.click("#explain-parts summary")
    assert not violations(page)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("#language")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not violations(page)
