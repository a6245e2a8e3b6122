"""The See tab: questions about images, and drawings that go there and back."""

import re
from pathlib import Path

import pytest
from page_visitor import Site, Visitor
from PIL import Image
from playwright.sync_api import Page, expect

from janusflow.inference.pipeline import JanusFlow

pytestmark = pytest.mark.slow
QUESTION = "What is in this picture?"
PASTE = """(target) => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 64;
  canvas.getContext("2d").fillRect(0, 0, 64, 64);
  return new Promise((resolve) => canvas.toBlob((blob) => {
    const data = new DataTransfer();
    data.items.add(new File([blob], "pasted.png", { type: "image/png" }));
    const options = { bubbles: true, cancelable: true };
    document.getElementById("panel-see").dispatchEvent(
      target === "paste"
        ? new ClipboardEvent("paste", { ...options, clipboardData: data })
        : new DragEvent("drop", { ...options, dataTransfer: data }));
    resolve();
  }));
}"""


@pytest.fixture(scope="module")
def scene(mini: JanusFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that mini has drawn."""
    path = tmp_path_factory.mktemp("see") / "scene.png"
    mini.generate("a red circle and a blue star", seed=1, steps=10)[0].save(path)
    return path


def ask(page: Page, question: str) -> str:
    """Ask, wait for the end of the answer, and read it."""
    page.fill("#question", question)
    page.keyboard.press("Enter")
    answer = page.locator(".turn.model[aria-busy=false]").last
    expect(page.locator("#see-ask")).to_be_visible()
    expect(answer).to_be_visible()
    return answer.locator("p").first.inner_text()


def test_answers_are_those_of_ask_and_follow_up_turns_know_the_image(
    visitor: Visitor, mini: JanusFlow, scene: Path
):
    page = visitor.visit("see")
    page.set_input_files("#see-file", scene)
    assert ask(page, QUESTION) == mini.ask(scene, QUESTION)
    expect(page.locator("#attachments li")).to_have_count(0)
    image = {"type": "image", "image": Image.open(scene)}
    said = [
        {"role": "user", "content": [image, {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": mini.ask(scene, QUESTION)},
        {"role": "user", "content": "How many objects are there?"},
    ]
    assert ask(page, "How many objects are there?") == "".join(mini.stream(said)).strip()
    expect(page.locator(".turn")).to_have_count(4)


def test_images_are_chosen_pasted_dropped_and_taken_away_again(visitor: Visitor, scene: Path):
    page = visitor.visit("see")
    page.set_input_files("#see-file", [scene, scene])
    expect(page.locator("#attachments li")).to_have_count(2)
    page.evaluate(PASTE, "paste")
    page.evaluate(PASTE, "drop")
    expect(page.locator("#attachments li")).to_have_count(4)
    page.get_by_role("button", name="Remove image 1").click()
    expect(page.locator("#attachments li")).to_have_count(3)
    posted: list[dict] = []
    page.on("request", lambda request: posted.append(request.post_data_json or {}))
    ask(page, "How many images are there?")
    (content,) = [each["messages"][0]["content"] for each in posted if "messages" in each]
    assert [part["type"] for part in content] == ["image_url"] * 3 + ["text"]


def test_an_answer_streams_and_can_be_stopped(visitor: Visitor, site: Site):
    page = visitor.visit("see")
    page.evaluate(
        """() => { window.lengths = new Set();
        new MutationObserver(() => lengths.add(document.querySelector(".turn.model p")
          ?.textContent.length)).observe(document.getElementById("turns"),
          { childList: true, subtree: true, characterData: true }); }"""
    )
    ask(page, "What is a star?")
    assert len(page.evaluate("[...lengths]")) > 2
    # The connection is held before its first piece, so that the answer is surely under way.
    page.route("**/v1/chat/completions", lambda route: None)
    page.fill("#question", "And a circle?")
    page.keyboard.press("Enter")
    page.click("#see-stop")
    expect(page.locator(".turn.model").last).to_contain_text("Stopped.")
    page.unroute("**/v1/chat/completions")
    assert ask(page, "What is a circle?")
    assert not site.engine.open_work


def test_a_conversation_is_cleared(visitor: Visitor, scene: Path):
    page = visitor.visit("see")
    page.set_input_files("#see-file", scene)
    ask(page, QUESTION)
    posted: list[dict] = []
    page.on("request", lambda request: posted.append(request.post_data_json or {}))
    page.click("#see-clear")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#see-empty")).to_be_visible()
    ask(page, "What is a star?")
    assert len(posted[-1]["messages"]) == 1


def test_a_question_that_failed_is_asked_again(visitor: Visitor):
    page = visitor.visit("see")
    page.route("**/v1/chat/completions", lambda route: route.abort())
    page.fill("#question", "What is a star?")
    page.keyboard.press("Enter")
    turn = page.locator(".turn.model")
    expect(turn).to_contain_text("The server does not answer")
    page.unroute("**/v1/chat/completions")
    page.get_by_role("button", name="Try again").click()
    expect(turn).to_have_count(1)
    expect(turn).not_to_contain_text("does not answer")
    expect(page.locator(".turn.model[aria-busy=false]")).to_be_visible()


def test_enter_does_not_send_a_korean_syllable_that_is_being_composed(visitor: Visitor):
    page = visitor.visit("see")
    page.fill("#question", "별은 무엇인가")
    page.locator("#question").dispatch_event(
        "keydown", {"key": "Enter", "isComposing": True, "bubbles": True}
    )
    expect(page.locator("#question")).to_have_value("별은 무엇인가")
    expect(page.locator(".turn")).to_have_count(0)


def test_a_drawing_goes_to_see_in_one_click_and_back_in_one(visitor: Visitor):
    page = visitor.visit()
    visitor.draw("a red circle and a blue star", seed=1)
    page.click(".frame >> text=Ask about it")
    expect(page.locator("#panel-see")).to_be_visible()
    expect(page.locator("#attachments img")).to_have_count(1)
    expect(page.locator("#question")).to_be_focused()
    assert re.search("circle|star", ask(page, QUESTION))
    page.click("text=Draw from this")
    expect(page.locator("#panel-draw")).to_be_visible()
    expect(page.locator("#start-card")).to_be_visible()
    page.go_back()
    expect(page.locator("#panel-see")).to_be_visible()
