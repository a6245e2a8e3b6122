"""Scores mean what they say: on a model that draws true renders, and on one that lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from typing import Any

import pytest
from PIL import Image

from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.runner import Report, run_task
from janusflow.evaluation.scenes import shapes
from janusflow.evaluation.shapes import (
    MAX_ANSWER_TOKENS,
    WILSON_Z,
    Score,
    held_out_scenes,
    kinds,
    score_detector,
    tally,
)
from janusflow.inference.drawing import DrawingSettings
from janusflow.mini.render import render
from janusflow.mini.scenes import COLOURS, SHAPES, Scene, SceneObject, composition, is_held_out

SEED = 11
NUM_ITEMS = 12


@dataclass
class Painter:
    """Draws the scenes it was given, one a prompt, and answers what it is told to."""

    scenes: Sequence[Scene] = ()
    answers: Sequence[str] = ()
    drawn: list[tuple[str, int]] = field(default_factory=list)
    asked: list[tuple[bytes, str]] = field(default_factory=list)
    settings: set[tuple[int, float, str]] = field(default_factory=set)
    image_size: int = 64

    def generate(
        self,
        prompt: Sequence[str],
        *,
        steps: int,
        guidance: float,
        solver: str,
        shift: float,
        numerics: str,
        seed: int,
        batch_size: int,
    ) -> list[Image.Image]:
        assert (shift, numerics, batch_size) == (1.0, "accurate", len(prompt))
        self.drawn += [(text, seed + i) for i, text in enumerate(prompt)]
        self.settings.add((steps, guidance, solver))
        # Scene i of a language has seed + i.
        return [render(self.scenes[seed - SEED + i], size=64) for i in range(len(prompt))]

    def answer(self, conversations: Sequence[Sequence[Any]], *, max_new_tokens: int) -> list[str]:
        assert max_new_tokens == MAX_ANSWER_TOKENS
        first = len(self.asked)
        for (message,) in conversations:
            picture, text = message["content"]
            self.asked.append((picture["image"].tobytes(), text["text"]))
        return list(self.answers[first : len(self.asked)])


def measured(painter: Painter, *, num_objects: int = 1, batch_size: int = 50) -> Report:
    """The task, with right answers where the painter has none."""
    options = TaskOptions(model=lambda: painter, limit=NUM_ITEMS, seed=SEED, objects=num_objects)
    task = shapes(options)
    if not painter.scenes:
        painter.scenes = held_out_scenes(NUM_ITEMS, seed=SEED, num_objects=num_objects)
    if not painter.answers:
        painter.answers = ["?"] * NUM_ITEMS
    return run_task(task, painter, name="painter", drawing=DrawingSettings(), batch_size=batch_size)


def other_colour(scene: Scene) -> Scene:
    def changed(colour: str) -> str:
        return COLOURS[(COLOURS.index(colour) + 1) % len(COLOURS)]

    objects = tuple(replace(thing, colour=changed(thing.colour)) for thing in scene.objects)
    return replace(scene, objects=objects)


def drawings(scenes: list[Scene], *, num_objects: int) -> list[Mapping[str, Any]]:
    """Rows of a painter that draws these scenes for the first prompts, in both languages."""
    rows = measured(Painter(scenes=scenes), num_objects=num_objects).rows
    return [row for row in rows if "prompt" in row]


def other(thing: SceneObject, *, of: str) -> SceneObject:
    """The object in the next colour or shape."""
    if of == "colours":
        return replace(thing, colour=COLOURS[(COLOURS.index(thing.colour) + 1) % len(COLOURS)])
    return replace(thing, shape=SHAPES[(SHAPES.index(thing.shape) + 1) % len(SHAPES)])


def verdicts_on(scenes: list[Scene], *, num_objects: int) -> list[bool]:
    return [row["right"] for row in drawings(scenes, num_objects=num_objects)]


# ---- drawing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_objects", [1, 2])
def test_true_renders_are_all_right_and_another_colour_is_all_wrong(num_objects: int):
    scenes = held_out_scenes(NUM_ITEMS, seed=SEED, num_objects=num_objects)
    assert verdicts_on(scenes, num_objects=num_objects) == [True] * 2 * NUM_ITEMS
    wrong = [other_colour(scene) for scene in scenes]
    assert verdicts_on(wrong, num_objects=num_objects) == [False] * 2 * NUM_ITEMS


@pytest.mark.parametrize("of", ["colours", "shapes"])
def test_colours_and_shapes_are_judged_apart(of: str):
    """Each of one trait, the other exchanged or an object missing."""
    scenes = held_out_scenes(NUM_ITEMS, seed=SEED, num_objects=2)
    turned = [
        replace(scene, objects=tuple(other(thing, of=of) for thing in scene.objects))
        for scene in scenes
    ]
    wanted = {"": False, " colours": of != "colours", " shapes": of != "shapes"}
    for row in drawings(turned, num_objects=2):
        assert row["verdicts"] == wanted
    fewer = [replace(scene, objects=scene.objects[:1]) for scene in scenes]
    for row in drawings(fewer, num_objects=2):
        assert not any(row["verdicts"].values())


def test_an_object_too_few_or_too_many_is_wrong():
    two = held_out_scenes(NUM_ITEMS, seed=SEED, num_objects=2)
    fewer = [replace(scene, objects=scene.objects[:1]) for scene in two]
    assert not any(verdicts_on(fewer, num_objects=2))
    one = held_out_scenes(NUM_ITEMS, seed=SEED, num_objects=1)
    assert not any(verdicts_on(two, num_objects=1))
    assert len(one) == NUM_ITEMS


def test_batching_changes_neither_prompts_nor_seeds_nor_questions():
    whole, parts = Painter(), Painter()
    assert measured(whole).rows == measured(parts, batch_size=5).rows
    assert whole.drawn == parts.drawn
    assert whole.asked == parts.asked
    assert [seed for _, seed in whole.drawn] == [*range(SEED, SEED + NUM_ITEMS)] * 2


def test_items_are_a_function_of_the_seed_and_the_first_ones_stay():
    assert held_out_scenes(4, seed=SEED) == held_out_scenes(9, seed=SEED)[:4]
    assert held_out_scenes(4, seed=SEED) != held_out_scenes(4, seed=SEED + 1)


def test_every_item_is_of_a_composition_training_never_saw():
    assert all(is_held_out(composition(scene)) for scene in held_out_scenes(60, seed=SEED))


def test_pictures_are_drawn_with_the_papers_settings_unless_told_otherwise():
    painter = Painter()
    measured(painter)
    assert painter.settings == {(30, 2.0, "euler")}


def test_the_detector_itself_is_right_on_true_renders():
    score = score_detector(40, seed=SEED, num_objects=None, size=64)
    assert (score.num_right, score.num_items) == (40, 40)


# ---- questions ----------------------------------------------------------------------------------


def ask(answers: Sequence[str]) -> tuple[Painter, list[tuple[str, bool]]]:
    painter = Painter(answers=answers)
    rows = measured(painter).rows
    return painter, [(row["wanted"], row["right"]) for row in rows if "question" in row]


def test_right_answers_are_all_right_and_others_all_wrong():
    _, blank = ask(["?"] * NUM_ITEMS)
    wanted = [answer for answer, _ in blank]
    assert [right for _, right in blank] == [False] * NUM_ITEMS
    _, right = ask([f" {answer.upper()}. " for answer in wanted])
    assert [is_right for _, is_right in right] == [True] * NUM_ITEMS
    _, shifted = ask(wanted[1:] + wanted[:1])
    expected = [
        a.lower() == b.lower() for a, b in zip(wanted, wanted[1:] + wanted[:1], strict=True)
    ]
    assert [is_right for _, is_right in shifted] == expected


def test_questions_are_asked_about_the_picture_of_their_scene_in_both_languages():
    painter, _ = ask(["?"] * NUM_ITEMS)
    scenes = held_out_scenes(NUM_ITEMS, seed=SEED)
    pictures = [render(scene, size=64).tobytes() for scene in scenes]
    assert [picture for picture, _ in painter.asked] == pictures
    is_korean = [any("가" <= c <= "힣" for c in question) for _, question in painter.asked]
    assert is_korean == [False, True] * (NUM_ITEMS // 2)


# ---- scores -------------------------------------------------------------------------------------


def score(num_right: int, num_items: int) -> Score:
    return Score(name="x", num_right=num_right, num_items=num_items)


@pytest.mark.parametrize(
    ("num_right", "num_items", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (50, 100, 0.4038, 0.5962),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(num_right: int, num_items: int, low: float, high: float):
    assert score(num_right, num_items).interval == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("num_right", "num_items"), [(1, 3), (270, 300), (299, 300), (7, 50)])
def test_the_interval_ends_where_the_share_is_just_z_deviations_away(
    num_right: int, num_items: int
):
    """Its definition: |share - p| = z sqrt(p (1 - p) / n) at both ends."""
    measured = score(num_right, num_items)
    for end in measured.interval:
        deviation = sqrt(end * (1 - end) / num_items)
        assert abs(measured.share - end) == pytest.approx(WILSON_Z * deviation, rel=1e-9)


def test_a_tally_counts_by_name_and_in_all():
    named = [("b", True), ("a", False), ("b", False), ("a", False), ("b", True)]
    counted = [(s.name, s.num_right, s.num_items) for s in tally(named)]
    assert counted == [("b", 2, 3), ("a", 0, 2), ("all", 2, 5)]
    assert [s.share for s in tally(named)] == pytest.approx([2 / 3, 0, 0.4])


def test_kinds_ignore_order_place_and_size():
    (scene,) = held_out_scenes(1, seed=SEED, num_objects=3)
    moved = tuple(replace(thing, x=0.1, y=0.2, size="small") for thing in scene.objects[::-1])
    assert kinds(scene) == kinds(moved)
    assert kinds(scene) != kinds(other_colour(scene))
