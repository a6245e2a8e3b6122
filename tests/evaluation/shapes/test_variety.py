"""Variety: closed forms of effective numbers, true renders, and models that repeat themselves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from math import exp, log
from typing import Any

import numpy as np
import pytest
from PIL import Image

from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.runner import Report, run_task
from janusflow.evaluation.shapes.prompts import ShapePrompt, shape_prompts
from janusflow.evaluation.shapes.task import shapes, varied_drawings, varied_prompts
from janusflow.evaluation.shapes.variety import (
    Seen,
    SeenObject,
    colour_distances,
    effective_number,
    look,
    shown,
    variety_of,
    variety_scores,
)
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.mini.language.words import LANGUAGES
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene

SEED = 11
TRAITS = ("backgrounds", "patterns", "sizes", "places")


def scenes(number: int, *, num_objects: int = 1) -> list[Image.Image]:
    """True renders of one prompt."""
    prompt = replace(
        shape_prompts("single", 1, seed=SEED)[0],
        scene=sample_scene(np.random.default_rng(0), num_objects=num_objects),
    )
    rng = np.random.default_rng(1)
    return [render(prompt.arranged_anew(rng).scene) for _ in range(number)]


@pytest.mark.parametrize("number", [1, 2, 7])
def test_the_effective_number_of_equally_many_values_is_their_number(number: int):
    samples = [("prompt", value) for value in range(number) for _ in range(3)]
    assert effective_number(samples) == pytest.approx(number)


def test_the_effective_number_of_unequal_values_is_the_exponential_of_their_entropy():
    samples = [("prompt", "a")] * 3 + [("prompt", "b")]
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert effective_number(samples) == pytest.approx(exp(entropy))


def test_of_several_groups_it_is_the_exponential_of_their_mean_entropy():
    """A value of its own for every prompt is no variety."""
    assert effective_number([(prompt, prompt) for prompt in "abc" for _ in range(4)]) == 1.0
    varied = [("a", value) for value in range(4)] + [("b", 0) for _ in range(4)]
    assert effective_number(varied) == pytest.approx(2.0)  # the mean of log 4 and log 1
    assert effective_number(varied[:6]) == pytest.approx(4 ** (4 / 6))
    assert effective_number([]) == 0.0


def test_what_is_read_of_a_true_render_is_what_its_scene_shows():
    rng = np.random.default_rng(2)
    for index in range(60):
        scene = sample_scene(rng, num_objects=index % 4 + 1)
        read, true = look(render(scene)), shown(scene)
        assert (read.background, read.pattern) == (true.background, true.pattern)
        assert sorted(_words(read)) == sorted(_words(true))


def _words(seen: Seen) -> list[tuple[str, ...]]:
    return [(thing.kind, thing.size, thing.place) for thing in seen.objects]


@pytest.mark.slow
def test_true_renders_have_the_variety_that_scenes_are_drawn_with():
    """Six tenths plain in five tones, the rest in four patterns of twenty pairs; three sizes."""
    found = variety_of(scenes(500))
    plain, patterned = 0.6 * log(5 / 0.6), 0.4 * log(80 / 0.4)
    # The entropy of n samples of m values is (m - 1) / 2n too small (Miller 1955): 84 / 1000.
    assert found["backgrounds"] == pytest.approx(exp(plain + patterned - 0.084), rel=0.05)
    assert found["patterns"] == pytest.approx(exp(0.6 * log(1 / 0.6) + 0.4 * log(10)), rel=0.05)
    assert found["sizes"] == pytest.approx(3.0, rel=0.02)
    # Large objects stand in the centre; others in seven of ten scenes in any of nine cells alike,
    # else on five eighths a side, of which three are in the middle cell.
    side = np.array([0.2, 0.6, 0.2])
    cells = 2 / 3 * (0.7 / 9 + 0.3 * np.outer(side, side))
    cells[1, 1] += 1 / 3
    assert found["places"] == pytest.approx(exp(-np.sum(cells * np.log(cells))), rel=0.05)
    assert found["colours"] < 0.5


def test_no_order_of_images_matters():
    images = scenes(40, num_objects=2)
    prompts = [index % 2 for index in range(40)]
    order = np.random.default_rng(3).permutation(40).tolist()
    shuffled = variety_of([images[i] for i in order], prompts=[prompts[i] for i in order])
    assert shuffled == pytest.approx(variety_of(images, prompts=prompts))


def test_one_image_repeated_has_no_variety_and_one_without_objects_none_of_objects():
    (image,) = scenes(1)
    alike = variety_of([image] * 5)
    assert alike == pytest.approx({**dict.fromkeys(TRAITS, 1.0), "colours": 0.0})
    blank = variety_of([Image.new("RGB", (64, 64), "white")] * 2)
    assert blank == {
        "backgrounds": 1.0,
        "patterns": 1.0,
        "sizes": 0.0,
        "places": 0.0,
        "colours": 0.0,
    }


def test_the_spread_of_colours_is_the_mean_distance_from_the_mean_of_a_colour_word():
    def seen(kind: str, *rgb: float) -> Seen:
        red, green, blue = rgb
        thing = SeenObject(kind=kind, size="small", place="top", rgb=(red, green, blue))
        return Seen(pattern="plain", background="plain white", objects=(thing,))

    things = [
        seen("red star", 200.0, 0.0, 0.0),
        seen("red ring", 206.0, 8.0, 0.0),
        seen("blue star", 0.0, 0.0, 9.0),
    ]
    assert colour_distances(things) == pytest.approx([5.0, 5.0, 0.0])


@dataclass
class Repeater:
    """Draws one of so many true renders of each prompt, by seed; answers nothing."""

    renders: int
    plan: str | None = None
    image_size: int = 64
    drawn: list[str] = field(default_factory=list)
    asked: int = 0

    def __post_init__(self) -> None:
        self.prompts = {}
        for category in ("single", "two", "counting", "colours", "position", "attribution"):
            for prompt in shape_prompts(category, 3, seed=SEED):
                self.prompts |= {prompt.text(language): prompt for language in LANGUAGES}

    def generate(self, prompt: Sequence[str], *, seed: int, **settings: Any) -> list[Image.Image]:
        self.drawn += prompt
        return [self._image(text, (seed + i) % self.renders) for i, text in enumerate(prompt)]

    def _image(self, text: str, number: int) -> Image.Image:
        rng = np.random.default_rng(number)
        image = render(self.prompts[text].arranged_anew(rng).scene)
        return image if self.plan is None else _with_plan(image, self.plan.format(number))

    def answer(self, conversations: Sequence[Any], *, max_new_tokens: int) -> list[str]:
        self.asked += len(conversations)
        return ["" for _ in conversations]


def _with_plan(image: Image.Image, plan: str) -> Image.Image:
    image.info["plan"] = plan
    return image


def measured(model: Any, **said: Any) -> Report:
    options = TaskOptions(model=lambda: model, limit=1, seed=SEED, **said)
    return run_task(shapes(options), model, name="repeater", drawing=DrawingSettings())


def values(report: Report) -> dict[str, float]:
    return {score.name: score.value for score in report.scores}


def test_true_renders_drawn_by_a_model_are_as_varied_as_true_renders():
    report = measured(Repeater(renders=10**6), variety=60, categories="colours", languages="en")
    scores = {score.name: score for score in report.scores}
    for trait in TRAITS:
        drawn, true, ratio = (
            scores[f"variety of {trait}{suffix}"] for suffix in ("", ", true renders", ", ratio")
        )
        assert ratio.value == pytest.approx(drawn.value / true.value)
        assert ratio.value == pytest.approx(1.0, abs=0.2)
        assert ratio.interval is not None
        low, high = ratio.interval
        assert low < 1.1
        assert high > 0.9
        assert drawn.num_items == 60
    assert scores["spread of colours"].value < 1.0


def test_a_model_that_repeats_itself_has_little_variety_however_right_it_is():
    found = values(measured(Repeater(renders=1), variety=10, categories="two"))
    assert found["mean of categories en"] == found["mean of categories ko"] == 1.0
    for trait in ("backgrounds", "patterns"):
        assert found[f"variety of {trait}"] == 1.0
        assert found[f"variety of {trait}, ratio"] < 0.6
    assert found["variety of places, ratio"] < 0.4


@pytest.mark.slow
def test_drawings_of_the_same_plan_are_compared_among_themselves():
    """Ten plans of one image each: varied, and not within a plan."""
    planner = Repeater(renders=10, plan="plan {}")
    found = values(measured(planner, variety=40, categories="two", languages="en"))
    assert found["variety of backgrounds"] > 4
    assert found["variety of backgrounds, same plan"] == 1.0
    assert 2 < found["variety of backgrounds, same plan, true renders"] < 4
    assert "variety of places, same plan" not in found
    assert not any(
        "same plan" in name for name in values(measured(Repeater(renders=10), variety=2))
    )


def test_objects_that_were_not_asked_for_do_not_count_nor_do_those_missed_in_the_renders():
    prompt = shape_prompts("two", 1, seed=SEED)[0]
    others = ShapePrompt(category="two", scene=shape_prompts("two", 9, seed=SEED)[8].scene)
    assert not {*_kinds(prompt)} & {*_kinds(others)}
    rng = np.random.default_rng(0)

    def row(index: int, drawn: ShapePrompt) -> dict[str, Any]:
        seen = asdict(shown(drawn.arranged_anew(rng).scene))
        return {"id": f"{index}", "kind": "two", "plan": None, "seen": seen}

    right = [row(index, prompt) for index in range(30)]
    wrong = [row(30 + index, others) for index in range(30)]
    alone = {s.name: s for s in variety_scores(right, {"two": prompt}, seed=0)}
    both = {s.name: s for s in variety_scores(right + wrong, {"two": prompt}, seed=0)}
    for trait in ("sizes", "places"):
        assert both[f"variety of {trait}"].value == pytest.approx(
            alone[f"variety of {trait}"].value
        )
        name = f"variety of {trait}, true renders"
        assert both[name].value == pytest.approx(alone[name].value, rel=0.05)


def _kinds(prompt: ShapePrompt) -> list[str]:
    return [thing.kind for thing in shown(prompt.scene).objects]


def test_each_prompt_is_drawn_a_fifth_as_often_as_the_limit_and_never_asked_about():
    def kinds_of(limit: int, **said: Any) -> list[str]:
        options = TaskOptions(model=lambda: Repeater(renders=1), limit=limit, seed=SEED, **said)
        items = [item for item in shapes(options).items if item.kind.startswith("variety")]
        return [item.kind for item in items]

    assert len(kinds_of(10)) == 12 * 2
    assert kinds_of(10, variety=0) == kinds_of(4) == []
    some = kinds_of(1, variety=3, categories="two,single", languages="ko")
    assert some == ["variety single ko"] * 3 + ["variety two ko"] * 3
    model = Repeater(renders=3)
    measured(model, variety=4, categories="two", languages="en")
    assert (len(model.drawn), model.asked) == (1 + 4, 1 + 1)


def test_prompts_are_drawn_on_noise_that_no_other_drawing_has():
    prompts = varied_prompts(("single", "two"), LANGUAGES, seed=SEED)
    items = varied_drawings(prompts, 5, seed=SEED)
    assert len({item.seed for item in items}) == len(items) == 4 * 5
    assert len({item.prompt for item in items}) == 4
