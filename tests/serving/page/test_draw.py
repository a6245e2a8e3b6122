"""The Draw tab: from a prompt to images, and from them onwards."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_visitor import Site, Visitor
from PIL import Image
from playwright.sync_api import Page, expect

from janusflow.inference.pipeline import JanusFlow

pytestmark = pytest.mark.slow
PROMPT = "a red circle and a blue star"
WATCH = """() => {
  window.seen = { sources: new Set(), nodes: new Set(), gaps: 0 };
  const look = () => {
    const image = document.querySelector(".frame img");
    if (image && !image.hidden) {
      seen.nodes.add(image);
      seen.sources.add(image.src);
      if (!image.complete || image.naturalWidth === 0) seen.gaps += 1;
    }
    requestAnimationFrame(look);
  };
  look();
}"""
SEEN = "() => ({ sources: seen.sources.size, nodes: seen.nodes.size, gaps: seen.gaps })"
MAX_LEVELS = 1
"""By which an image of the scheduler may differ from one drawn alone."""


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), dtype=int)


def bodies(page: Page, path: str) -> list[Any]:
    """Fills up with the JSON that the page posts to a path."""
    posted: list[Any] = []
    page.on(
        "request",
        lambda request: posted.append(request.post_data_json) if path in request.url else None,
    )
    return posted


def open_newest(page: Page) -> None:
    page.locator(".thumb").first.click()
    expect(page.locator("#viewer")).to_be_visible()


def test_an_image_forms_in_one_node_without_a_gap_and_ends_as_jf_draws_it(
    visitor: Visitor, mini: JanusFlow
):
    page = visitor.visit()
    page.evaluate(WATCH)
    visitor.draw(PROMPT, seed=7, steps=8, guidance=3, negative="a green square")
    seen = page.evaluate(SEEN)
    assert seen["sources"] > 2  # some previews may come within one frame of the screen
    assert (seen["nodes"], seen["gaps"]) == (1, 0)
    (entry,) = visitor.history()
    (alone,) = mini.generate(
        PROMPT, seed=7, steps=8, guidance=3.0, negative_prompt="a green square"
    )
    assert np.abs(pixels(entry["image"]) - pixels(alone)).max() <= MAX_LEVELS
    assert entry["settings"]["plan"] == alone.info["plan"]
    expect(page.locator(".frame")).to_contain_text(alone.info["plan"])


def test_a_solver_that_chooses_its_steps_shows_how_many_it_made(visitor: Visitor):
    page = visitor.visit()
    page.evaluate(
        """() => { window.told = new Set();
        new MutationObserver(() => told.add(document.getElementById("stage-step").textContent))
          .observe(document.getElementById("stage-step"), { childList: true }); }"""
    )
    visitor.open_settings()
    page.select_option("#solver", "dopri5")
    visitor.draw(PROMPT)
    assert "Step 1" in page.evaluate("[...told]")
    assert visitor.history()[0]["settings"]["solver"] == "dopri5"


def test_several_images_have_seeds_in_a_row_and_are_kept_over_a_reload(visitor: Visitor):
    page = visitor.visit()
    visitor.draw(PROMPT, seed=3, count=3)
    expect(page.locator(".frame")).to_have_count(3)
    page.reload()
    expect(page.locator(".thumb")).to_have_count(3)
    assert sorted(entry["settings"]["seed"] for entry in visitor.history()) == [3, 4, 5]
    expect(page.locator("#count")).to_have_value("3")
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#gallery-clear")
    expect(page.locator(".thumb")).to_have_count(0)
    assert visitor.history() == []


def test_the_plan_can_be_edited_and_is_what_is_drawn(visitor: Visitor):
    page = visitor.visit()
    posted = bodies(page, "images/generations")
    visitor.open_settings()
    page.select_option("#plan", "edit")
    page.fill("#seed", "5")
    page.fill("#prompt", PROMPT)
    page.click("#draw-go")
    plan = page.locator("#plan-text")
    expect(plan).to_have_value(re.compile("circle"))
    assert posted == []
    edited = "a green square in the top left"
    plan.fill(edited)
    page.click("#draw-go")
    visitor.wait()
    assert (posted[0]["plan_text"], posted[0]["seed"]) == (edited, 5)
    (entry,) = visitor.history()
    assert entry["settings"]["plan"] == edited
    assert entry["image"].info["plan"] == edited
    page.fill("#prompt", "another one")
    expect(plan).to_be_hidden()


def test_cancelling_takes_the_drawing_out_of_the_server(visitor: Visitor, site: Site):
    page = visitor.visit()
    visitor.open_settings()
    page.fill("#steps", "200")
    page.fill("#count", "4")
    page.fill("#prompt", PROMPT)
    page.click("#draw-go")
    expect(page.locator(".frame img").first).to_be_visible()
    assert site.engine.open_work
    page.click("#draw-cancel")
    visitor.wait("cancelled")
    until = time.monotonic() + 10.0
    while site.engine.open_work and time.monotonic() < until:
        time.sleep(0.05)
    assert not site.engine.open_work
    assert visitor.history() == []
    expect(page.locator("#draw-error")).to_be_empty()


def test_only_what_is_painted_changes(visitor: Visitor):
    page = visitor.visit()
    visitor.draw("a red circle on the left and a blue square on the right", seed=1, steps=10)
    open_newest(page)
    page.click("text=Edit a part")
    box = page.locator("#brush-canvas").bounding_box()
    assert box is not None
    page.locator("#brush-size").fill("256")
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 1, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, middle, steps=4)
    page.mouse.up()
    page.fill("#brush-prompt", "a green circle on the left and a blue square on the right")
    page.click("text=Draw the change")
    expect(page.locator(".thumb")).to_have_count(2)
    visitor.wait()
    after, before = visitor.history()
    inside = np.asarray(after["mask"].getchannel("A")) == 0
    assert after["mask"].size == before["image"].size
    assert inside[32, 8]
    assert not inside[:, 40:].any()
    difference = np.abs(pixels(after["image"]) - pixels(before["image"])).max(axis=2)
    assert difference[~inside].max() == 0
    assert difference[inside].max() > 50


def test_nothing_is_drawn_while_nothing_is_painted(visitor: Visitor):
    page = visitor.visit()
    visitor.draw(PROMPT)
    open_newest(page)
    page.click("text=Edit a part")
    page.locator("#brush-canvas").click()
    page.click("#brush-undo")
    page.click("text=Draw the change")
    expect(page.locator("#brush-error")).to_have_text("Paint at least a small part first.")
    assert len(visitor.history()) == 1


def test_a_drawing_is_varied_and_enlarged(visitor: Visitor):
    page = visitor.visit()
    visitor.draw(PROMPT, seed=1)
    open_newest(page)
    page.click("#viewer-actions >> text=Variation")
    visitor.wait()
    open_newest(page)
    expect(page.locator("#viewer-title")).to_have_text("Variation of an image")
    page.click("#viewer-actions >> text=Enlarge")
    visitor.wait()
    large, varied, drawn = visitor.history()
    assert varied["settings"]["seed"] != drawn["settings"]["seed"]
    assert np.abs(pixels(varied["image"]) - pixels(drawn["image"])).max() > 0
    assert large["image"].size == (128, 128)
    assert [each["settings"]["kind"] for each in (large, varied, drawn)] == [
        "upscale", "variation", "generation",
    ]  # fmt: skip


def test_settings_are_used_again_and_draw_the_same_image(visitor: Visitor):
    page = visitor.visit()
    visitor.draw(PROMPT, guidance=4)
    page.fill("#prompt", "something else")
    page.fill("#guidance", "1")
    open_newest(page)
    page.click("text=Use these settings")
    expect(page.locator("#prompt")).to_have_value(PROMPT)
    page.click("#draw-go")
    visitor.wait()
    again, first = visitor.history()
    assert again["settings"]["seed"] == first["settings"]["seed"]
    assert np.abs(pixels(again["image"]) - pixels(first["image"])).max() <= MAX_LEVELS


def test_dice_and_reuse_set_the_seed(visitor: Visitor):
    page = visitor.visit()
    visitor.draw(PROMPT)
    page.click("#seed-reuse")
    (entry,) = visitor.history()
    expect(page.locator("#seed")).to_have_value(str(entry["settings"]["seed"]))
    page.click("#seed-dice")
    expect(page.locator("#seed")).to_have_value("")
    visitor.draw(PROMPT)
    assert len({each["settings"]["seed"] for each in visitor.history()}) == 2


def test_a_download_is_named_by_its_prompt_and_remembers_how_it_was_drawn(visitor: Visitor):
    page = visitor.visit()
    visitor.draw(PROMPT, seed=9)
    open_newest(page)
    with page.expect_download() as downloading:
        page.click("text=Download")
    assert downloading.value.suggested_filename == "a-red-circle-and-a-blue-star-9.png"
    with Image.open(downloading.value.path()) as image:
        assert image.info["prompt"] == PROMPT
        assert "Seed: 9" in image.info["parameters"]


def test_a_drawing_can_start_from_a_file_of_any_shape(visitor: Visitor, tmp_path: Path):
    page = visitor.visit()
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request))
    Image.new("RGB", (300, 100), "green").save(tmp_path / "wide.png")
    page.set_input_files("#start-file", tmp_path / "wide.png")
    expect(page.locator("#start-card")).to_be_visible()
    width, height = page.evaluate(
        "() => { const s = document.getElementById('start-image');"
        "return s.decode().then(() => [s.naturalWidth, s.naturalHeight]) }"
    )
    assert (width, height) == (100, 100)
    visitor.draw(PROMPT)
    page.click("#start-remove")
    visitor.draw(PROMPT)
    posted = [request.url for request in asked if request.method == "POST"]
    assert [url.rpartition("/")[2] for url in posted] == ["edits", "generations"]


def test_a_file_that_is_no_image_is_told_by_its_name(visitor: Visitor, tmp_path: Path):
    page = visitor.visit()
    (tmp_path / "notes.png").write_text("no image")
    page.set_input_files("#start-file", tmp_path / "notes.png")
    expect(page.locator("#draw-error")).to_contain_text("notes.png cannot be opened as an image")


def test_the_viewer_goes_through_the_history_and_deletes(visitor: Visitor):
    page = visitor.visit()
    visitor.draw(PROMPT, seed=1, count=3)
    open_newest(page)
    facts = page.locator("#viewer-facts")
    seeds = [str(each["settings"]["seed"]) for each in visitor.history()]
    expect(facts).to_contain_text(seeds[0])
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-facts dd").nth(2)).to_have_text(seeds[1])
    page.click("#viewer-actions >> text=Delete")
    expect(page.locator("#viewer-facts dd").nth(2)).to_have_text(seeds[2])
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#viewer-facts dd").nth(2)).to_have_text(seeds[0])
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    assert [str(each["settings"]["seed"]) for each in visitor.history()] == [seeds[0], seeds[2]]
