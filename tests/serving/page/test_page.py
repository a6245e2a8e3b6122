"""The page as a whole: languages, colours, widths, keyboard, errors, and a server that goes."""

import json
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeAlias

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_visitor import Invite, Site, Visitor
from playwright.sync_api import Page, Response, expect

from janusflow.config.serving import ServingConfig
from janusflow.serving.app import PAGE

pytestmark = pytest.mark.slow
OtherSite: TypeAlias = Callable[[ServingConfig], AbstractContextManager[Site]]
PROMPT = "a red circle and a blue star"
KOREAN = re.compile("[가-힣]")
MEANT_IN_KOREAN = {"한국어", "파란 별과 초록색 사각형", "이 그림을 설명해 주세요."}
"""What the English page says in Korean: the switch, and examples."""
SAID = "[...document.querySelectorAll('[data-say]')].map((each) => each.textContent)"
WORDS = "import('/page/language.js').then(({ TABLES }) => TABLES)"
BRIGHTNESS = """() => {
  const numbers = getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g);
  return numbers.slice(0, 3).reduce((sum, each) => sum + Number(each), 0) / 3;
}"""
HIGHEST = 255.0
POLICY = "content-security-policy"
HAS_FOCUS = "(found) => found.includes(document.activeElement)"


def test_the_page_asks_for_nothing_from_elsewhere_and_may_not(visitor: Visitor, site: Site):
    answers: list[Response] = []
    visitor.page.on("response", lambda answer: answers.append(answer))
    visitor.visit()
    visitor.draw(PROMPT)
    urls = [answer.url for answer in answers]
    assert f"{site.url}page/main.js" in urls
    assert not [url for url in urls if not url.startswith((site.url, "blob:", "data:"))]
    # Each visitor fails where the policy is broken: Chromium tells it as an error.
    policy = next(answer for answer in answers if answer.url == site.url).headers
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy[POLICY]


def test_each_language_has_all_words_and_no_others(visitor: Visitor):
    tables = visitor.visit().evaluate(WORDS)
    assert set(tables["en"]) == set(tables["ko"])
    for key, words in tables["en"].items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", tables["ko"][key]))
    files = [*PAGE.rglob("*.js"), PAGE / "index.html"]
    text = "".join(
        path.read_text(encoding="utf-8") for path in files if path.parent.name != "words"
    )
    unused = [key for key in tables["en"] if f'"{key}"' not in text and "kind." not in key]
    # The theme's words are put together from its name.
    assert [key for key in unused if not key.startswith("page.theme.")] == []


def test_the_browsers_language_is_spoken_until_another_one_is_chosen(invite: Invite):
    visitor = invite(locale="ko-KR")
    page = visitor.visit()
    expect(page.locator("#draw-go-words")).to_have_text("그리기")
    assert page.locator("html").get_attribute("lang") == "ko"
    visitor.draw("빨간 원")
    expect(page.locator("#stage-status")).to_contain_text("그렸습니다")
    page.click("#language")
    expect(page.locator("#draw-go-words")).to_have_text("Draw")
    expect(page.locator("#stage-status")).to_contain_text("Drawn in")
    said = set(page.evaluate(SAID)) - MEANT_IN_KOREAN
    assert len(said) > 50
    assert not list(filter(KOREAN.search, said))
    page.reload()
    expect(page.locator("#draw-go-words")).to_have_text("Draw")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_until_others_are_chosen(invite: Invite, scheme: str):
    page = invite(color_scheme=scheme).visit()
    is_bright = scheme == "light"
    assert (page.evaluate(BRIGHTNESS) > HIGHEST / 2) == is_bright
    page.click("#theme")
    assert (page.evaluate(BRIGHTNESS) > HIGHEST / 2) != is_bright
    page.reload()
    assert (page.evaluate(BRIGHTNESS) > HIGHEST / 2) != is_bright


def test_nothing_is_wider_than_a_phone(invite: Invite):
    visitor = invite(viewport={"width": 360, "height": 740}, has_touch=True)
    page = visitor.visit()

    def is_narrow() -> bool:
        return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    assert is_narrow()
    visitor.draw("a red circle and a blue star " * 4, count=2)
    assert is_narrow()
    page.locator(".thumb").first.click()
    assert is_narrow()
    assert page.evaluate("document.querySelector('#viewer').scrollWidth") <= 360
    page.click("text=Edit a part")
    assert page.evaluate("document.querySelector('#brush').scrollWidth") <= 360
    page.keyboard.press("Escape")
    page.click("#tab-see")
    page.fill("#question", "x" * 200)
    page.keyboard.press("Enter")
    expect(page.locator(".turn.model[aria-busy=false]")).to_be_visible()
    assert is_narrow()
    page.click("#language")
    assert is_narrow()


def test_everything_works_with_the_keyboard_alone(visitor: Visitor):
    page = visitor.visit()
    press = page.keyboard.press

    def tab_to(selector: str) -> None:
        for _ in range(60):
            if page.locator(selector).evaluate_all(
                "(found) => found.includes(document.activeElement)"
            ):
                return
            press("Tab")
        raise AssertionError(f"the tab key does not reach {selector}")

    for wanted in ("#tab-draw", "#prompt"):
        tab_to(wanted)
    page.keyboard.type(PROMPT)
    press("Control+Enter")
    visitor.wait()
    press("Control+Enter")
    expect(page.locator(".thumb")).to_have_count(2)
    visitor.wait()
    tab_to(".thumb")
    press("ArrowRight")
    expect(page.locator(".thumb").nth(1)).to_be_focused()
    press("Enter")
    expect(page.locator("#viewer")).to_be_visible()
    press("Escape")
    expect(page.locator(".thumb").nth(1)).to_be_focused()
    press("Enter")
    tab_to("#viewer-actions button:nth-child(5)")
    press("Enter")
    expect(page.locator("#brush-canvas")).to_be_focused()
    for key in ("ArrowLeft", "ArrowUp", "Space"):
        press(key)
    tab_to("#brush .primary")
    press("Enter")
    expect(page.locator(".thumb")).to_have_count(3)
    visitor.wait()
    assert visitor.history()[0]["mask"] is not None
    press("Shift+Tab")
    page.locator("#tab-draw").focus()
    press("ArrowRight")
    expect(page.locator("#panel-see")).to_be_visible()
    tab_to("#question")
    page.keyboard.type("What is a star?")
    press("Enter")
    expect(page.locator(".turn.model[aria-busy=false]")).to_be_visible()


def violations(page: Page) -> str:
    results = Axe().run(page)
    return results.generate_report() if results.violations_count else ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault(invite: Invite, scheme: str):
    visitor = invite(color_scheme=scheme, reduced_motion="reduce")
    page = visitor.visit()
    assert not violations(page)
    visitor.draw(PROMPT, count=2)
    page.set_input_files("#start-file", PAGE.parents[2] / "docs" / "images" / "mini-drawings.png")
    expect(page.locator("#start-card")).to_be_visible()
    page.click("#start-remove")
    assert not violations(page)
    page.locator(".thumb").first.click()
    assert not violations(page)
    page.click("text=Edit a part")
    assert not violations(page)
    page.keyboard.press("Escape")
    page.click("#tab-see")
    assert not violations(page)
    page.fill("#question", "What is a star?")
    page.keyboard.press("Enter")
    expect(page.locator(".turn.model[aria-busy=false]")).to_be_visible()
    assert not violations(page)


def test_what_the_server_refuses_is_told_in_its_own_words(invite: Invite, other_site: OtherSite):
    with other_site(ServingConfig(max_text=20)) as site:
        visitor = invite(url=site.url)
        page = visitor.visit()
        page.fill("#prompt", "a red circle and a blue star and more")
        page.click("#draw-go")
        error = page.locator("#draw-error")
        expect(error).to_contain_text("The server did not accept this: ")
        expect(error).to_contain_text("20")
        page.fill("#prompt", "   ")
        page.click("#draw-go")
        expect(error).to_have_text("Say in a few words what to draw.")
        expect(page.locator("#prompt")).to_be_focused()


def test_a_busy_server_is_told_with_the_time_to_wait(visitor: Visitor):
    page = visitor.visit()
    headers = {"Retry-After": "7"}
    page.route("**/generations", lambda route: route.fulfill(status=429, headers=headers))
    page.fill("#prompt", PROMPT)
    page.click("#draw-go")
    expect(page.locator("#draw-error")).to_contain_text("Try again in 7 s")
    expect(page.locator("#draw-go")).to_be_visible()


def test_an_error_within_a_stream_is_told_and_ends_the_drawing(visitor: Visitor):
    page = visitor.visit()
    event = {"error": {"message": "The numbers are not finite.", "type": "server_error"}}
    page.route(
        "**/generations",
        lambda route: route.fulfill(
            content_type="text/event-stream", body=f"event: error\ndata: {json.dumps(event)}\n\n"
        ),
    )
    page.fill("#prompt", PROMPT)
    page.click("#draw-go")
    expect(page.locator("#draw-error")).to_have_text(
        "The server could not finish this: The numbers are not finite."
    )
    expect(page.locator("#stage-empty")).to_be_visible()
    page.unroute("**/generations")
    page.click("#draw-go")
    visitor.wait()


def test_a_server_that_goes_is_noticed_and_so_is_its_return(invite: Invite, other_site: OtherSite):
    with other_site(ServingConfig()) as site:
        visitor = invite(url=site.url)
        page = visitor.visit()
        visitor.draw(PROMPT)
        site.stop()
        line = page.locator("#server-line")
        expect(line).to_contain_text("The server does not answer")
        page.click("#draw-go")
        expect(page.locator("#draw-error")).to_contain_text("The server does not answer")
        site.start()
        expect(line).to_have_text("The server is back.")
        expect(line).to_be_hidden()
        page.click("#draw-go")
        expect(page.locator(".thumb")).to_have_count(2)
        expect(page.locator("#draw-error")).to_be_empty()


def test_a_key_is_asked_for_and_kept_for_this_tab_only(invite: Invite, other_site: OtherSite):
    with other_site(ServingConfig(api_keys=("open sesame",))) as site:
        visitor = invite(url=site.url)
        visitor.page.goto(site.url)
        form = visitor.page.locator("#server-key")
        expect(form).to_be_visible()
        visitor.page.fill("#key", "wrong")
        visitor.page.click("#server-key .primary")
        expect(form).to_be_visible()
        visitor.page.fill("#key", "open sesame")
        visitor.page.click("#server-key .primary")
        expect(form).to_be_hidden()
        visitor.draw(PROMPT)
        assert "sesame" not in visitor.page.evaluate("JSON.stringify({ ...localStorage })")
        visitor.page.reload()
        expect(visitor.page.locator("#model")).to_have_text("mini")
        expect(form).to_be_hidden()
