"""ShapesEval's six categories: what they ask, and what passes and fails them."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from janusflow.evaluation.shapes.prompts import (
    CATEGORIES,
    Category,
    ShapePrompt,
    held_out_scenes,
    kinds,
    questioned_scenes,
    shape_prompts,
)
from janusflow.mini.language.words import ENGLISH_RELATIONS, LANGUAGES
from janusflow.mini.scenes.naming import named_objects
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import (
    COLOURS,
    SHAPES,
    Scene,
    SceneObject,
    composition,
    is_held_out,
    relation,
)

SEED = 11
PAIRS: tuple[Category, ...] = ("two", "position", "attribution")
PROMPTS = {category: shape_prompts(category, 12, seed=SEED) for category in CATEGORIES}


def verdicts(category: Category, change: Callable[[Scene], Scene]) -> set[bool]:
    """What a category says of its scenes' true renders, changed."""
    return {prompt.judge(render(change(prompt.scene)))["right"] for prompt in PROMPTS[category]}


def each(scene: Scene, change: Callable[[SceneObject], SceneObject]) -> Scene:
    return replace(scene, objects=tuple(change(thing) for thing in scene.objects))


def other_colour(thing: SceneObject) -> SceneObject:
    return replace(thing, colour=COLOURS[(COLOURS.index(thing.colour) + 1) % len(COLOURS)])


def other_shape(thing: SceneObject) -> SceneObject:
    return replace(thing, shape=SHAPES[(SHAPES.index(thing.shape) + 1) % len(SHAPES)])


def colours_swapped(scene: Scene) -> Scene:
    a, b = scene.objects
    return replace(scene, objects=(replace(a, colour=b.colour), replace(b, colour=a.colour)))


def places_swapped(scene: Scene) -> Scene:
    a, b = scene.objects
    return replace(scene, objects=(replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y)))


def one_fewer(scene: Scene) -> Scene:
    return replace(scene, objects=scene.objects[1:])


def one_more(scene: Scene) -> Scene:
    """A small copy of an object, in the middle of the largest free place."""
    grid = [(x / 16, y / 16) for x in range(3, 14) for y in range(3, 14)]

    def room(place: tuple[float, float]) -> float:
        return min(
            np.hypot(thing.x - place[0], thing.y - place[1]) - thing.bound
            for thing in scene.objects
        )

    x, y = max(grid, key=room)
    extra = replace(scene.objects[0], size="small", x=x, y=y)
    assert room((x, y)) > extra.bound, "there is room for one more"
    return replace(scene, objects=(*scene.objects, extra))


# ---- judging ------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES)
def test_true_renders_are_right_at_any_size(category: Category):
    assert verdicts(category, lambda scene: scene) == {True}
    prompt = PROMPTS[category][0]
    assert prompt.judge(render(prompt.scene, size=384))["right"]


@pytest.mark.parametrize("category", CATEGORIES)
def test_an_object_too_few_or_too_many_is_wrong(category: Category):
    assert verdicts(category, one_fewer) == {False}
    few = [prompt for prompt in PROMPTS[category] if len(prompt.scene.objects) < 3]
    assert not any(prompt.judge(render(one_more(prompt.scene)))["right"] for prompt in few)


@pytest.mark.parametrize("category", CATEGORIES)
def test_another_colour_is_wrong_and_so_is_another_shape(category: Category):
    assert verdicts(category, lambda scene: each(scene, other_colour)) == {False}
    assert verdicts(category, lambda scene: each(scene, other_shape)) == {False}


@pytest.mark.parametrize("category", ["position", "attribution"])
def test_colours_swapped_are_right_as_colours_and_shapes_alone_and_wrong_together(
    category: Category,
):
    for prompt in PROMPTS[category]:
        a, b = prompt.scene.objects
        if a.colour == b.colour or a.shape == b.shape:
            continue
        verdict = prompt.judge(render(colours_swapped(prompt.scene)))
        assert not verdict["right"]
        assert (verdict["traits"]["colours"], verdict["traits"]["shapes"]) == (True, True)


@pytest.mark.parametrize("category", PAIRS)
def test_swapped_places_are_wrong_for_position_alone(category: Category):
    assert verdicts(category, places_swapped) == {category != "position"}


def test_a_mirrored_image_is_wrong_where_left_or_right_was_asked():
    seen = set()
    for prompt in shape_prompts("position", 20, seed=SEED):
        mirrored = each(prompt.scene, lambda thing: replace(thing, x=1 - thing.x))
        right = prompt.judge(render(mirrored))["right"]
        assert right == (prompt.relation in ("above", "below"))
        seen.add(prompt.relation)
    assert seen == set(ENGLISH_RELATIONS)


def test_an_empty_image_is_wrong_and_says_so():
    empty = replace(PROMPTS["single"][0].scene, objects=())
    for category in CATEGORIES:
        verdict = PROMPTS[category][0].judge(render(empty))
        assert (verdict["right"], verdict["why"], verdict["found"]) == (False, "found nothing", [])
        assert verdict["outline"] is None


def test_the_outline_of_an_image_is_the_mean_of_its_objects():
    scene = PROMPTS["two"][0].scene
    alone = [
        PROMPTS["two"][0].judge(render(replace(scene, objects=(thing,))))["outline"]
        for thing in scene.objects
    ]
    assert alone[0] != alone[1]
    both = PROMPTS["two"][0].judge(render(scene))["outline"]
    assert both == pytest.approx(sum(alone) / 2, abs=1e-3)


def test_a_verdict_tells_what_was_found_and_how_it_lies():
    prompt = PROMPTS["position"][0]
    verdict = prompt.judge(render(places_swapped(prompt.scene)))
    swapped = relation(prompt.scene.objects[1], prompt.scene.objects[0])
    assert verdict["why"].endswith(f", {swapped}")
    for thing in prompt.scene.objects:
        assert f"{thing.colour} {thing.shape}" in verdict["why"]
        assert f"{thing.colour} {thing.shape}" in verdict["found"]


# ---- asking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_prompt_is_of_a_composition_training_never_saw(category: Category):
    assert all(
        is_held_out(composition(prompt.scene)) for prompt in shape_prompts(category, 90, seed=SEED)
    )
    assert all(is_held_out(composition(scene)) for scene in held_out_scenes(90, seed=SEED))


def test_categories_ask_for_what_they_say():
    def numbers(category: Category) -> Counter[tuple[int, int]]:
        """How many objects, and how many kinds of them."""
        return Counter(
            (len(prompt.scene.objects), len(kinds(prompt.scene.objects)))
            for prompt in PROMPTS[category]
        )

    assert numbers("single") == numbers("colours") == {(1, 1): 12}
    assert numbers("counting") == {(2, 1): 4, (3, 1): 4, (4, 1): 4}
    assert numbers("two") == numbers("position") == numbers("attribution") == {(2, 2): 12}
    for prompt in shape_prompts("attribution", 200, seed=SEED):
        a, b = prompt.scene.objects
        assert a.colour != b.colour
        assert a.shape != b.shape
    shared = [
        prompt
        for prompt in shape_prompts("two", 200, seed=SEED)
        if len({thing.colour for thing in prompt.scene.objects}) == 1
    ]
    assert shared, "two objects may share a trait where attribution is not asked"


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_prompt_names_its_objects_in_both_languages_and_nothing_else(category: Category):
    for prompt in PROMPTS[category]:
        for language in LANGUAGES:
            said = named_objects(prompt.text(language), language=language)
            assert said == kinds(prompt.scene.objects)


def test_prompts_are_worded_as_documented():
    thing = SceneObject(shape="circle", colour="red", size="small", x=0.25, y=0.5)
    star = replace(thing, shape="star", colour="blue", x=0.75)
    scene = PROMPTS["single"][0].scene

    def prompts(category: Category, *objects: SceneObject) -> list[str]:
        prompt = ShapePrompt(category=category, scene=replace(scene, objects=objects))
        return [prompt.text(language) for language in LANGUAGES]

    for category in ("single", "colours"):
        assert prompts(category, thing) == ["a red circle", "빨간 원"]
    for category in ("two", "attribution"):
        assert prompts(category, thing, star) == [
            "a red circle and a blue star",
            "빨간 원과 파란 별",
        ]
    assert prompts("counting", *[thing] * 3) == ["three red circles", "빨간 원 세 개"]
    assert prompts("position", thing, star) == [
        "a red circle left of a blue star",
        "파란 별 왼쪽에 빨간 원",
    ]
    assert prompts("position", star, thing)[0] == "a blue star right of a red circle"


def test_prompts_are_a_function_of_the_seed_and_the_first_ones_stay():
    for category in CATEGORIES:
        assert shape_prompts(category, 4, seed=SEED) == PROMPTS[category][:4]
        assert shape_prompts(category, 4, seed=SEED + 1) != PROMPTS[category][:4]


def test_a_scene_arranged_anew_fulfils_the_prompt_too_and_has_the_same_words():
    rng = np.random.default_rng(0)
    for category in CATEGORIES:
        for prompt in PROMPTS[category][:6]:
            anew = prompt.arranged_anew(rng)
            assert anew.scene != prompt.scene
            assert anew.text("en") == prompt.text("en")
            assert prompt.judge(render(anew.scene))["right"]


def test_every_category_is_judged_by_one_of_its_verdicts():
    for category in CATEGORIES:
        trait = "relation" if category == "position" else "objects"
        verdict = PROMPTS[category][0].judge(render(PROMPTS[category][0].scene))
        assert verdict["right"] is verdict["traits"][trait]


# ---- questions ----------------------------------------------------------------------------------


def test_questions_are_about_the_image_of_their_scene_in_both_languages():
    items = questioned_scenes(12, seed=SEED, size=64)
    images = [render(scene).tobytes() for scene in held_out_scenes(12, seed=SEED)]
    assert [image.tobytes() for image, _ in items] == images
    is_korean = [any("가" <= c <= "힣" for c in question.text) for _, question in items]
    assert is_korean == [False, True] * 6
    assert [question.language for _, question in items] == ["en", "ko"] * 6
