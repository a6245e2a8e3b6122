"""Training samples of mini: true to their scenes, varied, and a function of the generator."""

import re
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError, DataError
from janusflow.data.samples import GenerationSample
from janusflow.data.sources.base import Source, WeightedSource
from janusflow.mini.language.questions import Kind, Name, Question, ask_all
from janusflow.mini.language.words import Language
from janusflow.mini.rewards import asked_by
from janusflow.mini.scenes.dataset import SceneFolder, write_scenes
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.scene import (
    SHAPES,
    Background,
    Scene,
    SceneObject,
    composition,
    is_held_out,
    sample_scene,
)
from janusflow.mini.training import sources
from janusflow.mini.training.sources import (
    MAX_TURNS,
    ScenePrompts,
    SceneTexts,
    pixel_values,
    scene_drawings,
    scene_questions,
    unrendered,
)

NUM_SCENES = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, and latents that hold their scene's number."""
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, num_scenes=NUM_SCENES, size=64, seed=0)
    numbers = np.arange(NUM_SCENES, dtype=np.float16)
    np.save(folder / "latents.npy", np.tile(numbers[:, None, None, None], (1, 4, 2, 2)))
    return folder


def config(folder: Path, **options: Any) -> SourceConfig:
    return SourceConfig(format="scenes", path=str(folder), options=options)


def drawings(folder: Path, **options: Any) -> list[WeightedSource]:
    return scene_drawings(config(folder, latents=str(folder / "latents.npy"), **options))


def opened(folder: Path, kind: str) -> Source:
    openers = {"understanding": scene_questions, "text": partial(unrendered, SceneTexts)}
    found = drawings(folder) if kind == "generation" else openers[kind](config(folder))
    ((source, _),) = found
    return source


def draws(folder: Path, kind: str, num: int) -> list:
    source, rng = opened(folder, kind), np.random.default_rng(3)
    return [source.sample(i % len(source), rng) for i in range(num)]


def is_korean(text: str) -> bool:
    return any("가" <= letter <= "힣" for letter in text)


def test_a_drawing_sample_holds_the_latent_pixels_and_words_of_one_scene(folder: Path):
    scenes = SceneFolder(folder)
    for sample in draws(folder, "generation", 20):
        index = int(sample.latent[0, 0, 0])
        assert torch.equal(sample.pixel_values, pixel_values(scenes.images[index][None])[0])
        if not is_korean(sample.prompt):
            colours = {thing.colour for thing in scenes.scene(index).objects}
            assert all(colour in sample.prompt.lower() for colour in colours)


def test_questions_are_about_the_image_beside_them(folder: Path):
    """How many objects there are is asked now and then; the detector counts them."""
    checked = 0
    for sample in draws(folder, "understanding", 60):
        levels = ((sample.images[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0)
        counted = len(look_at(Image.fromarray(levels.numpy())))
        for turn in sample.turns:
            if turn.question in ("How many objects are there?", "How many objects do you see?"):
                assert turn.answer == str(counted)
                checked += 1
    assert checked > 0


def test_turns_are_some_of_a_scenes_questions_without_repeats(folder: Path):
    for sample in draws(folder, "understanding", 15):
        assert 1 <= len(sample.turns) <= MAX_TURNS
        assert len({is_korean(turn.question) for turn in sample.turns}) == 1
    scene = SceneFolder(folder).scene(0)
    assert len(ask_all(scene, np.random.default_rng(0), language="en")) > 1


def test_both_languages_are_drawn_about_equally(folder: Path):
    """60 draws: standard error 0.065."""
    for kind in ("generation", "text"):
        texts = [getattr(s, "prompt", None) or s.text for s in draws(folder, kind, 60)]
        assert np.mean([is_korean(text) for text in texts]) == pytest.approx(0.5, abs=0.2)


def test_scenes_of_plain_text_are_training_scenes_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[Scene] = []

    def remember(rng: np.random.Generator) -> Scene:
        seen.append(sample_scene(rng))
        return seen[-1]

    monkeypatch.setattr(sources, "sample_scene", remember)
    draws(folder, "text", 40)
    assert len(seen) == 40
    assert not any(is_held_out(composition(scene)) for scene in seen)


@pytest.mark.parametrize("kind", ["understanding", "generation", "text"])
def test_a_sample_is_a_function_of_the_generator(folder: Path, kind: str):
    first, second = draws(folder, kind, 3), draws(folder, kind, 3)
    assert [str(sample) for sample in first] == [str(sample) for sample in second]
    assert len({str(sample) for sample in first}) == 3


def test_captions_place_several_objects_as_often_as_asked(folder: Path):
    shares, rng = [0, 1, 0, 0], np.random.default_rng(0)

    def num_placed(placed: float) -> int:
        ((source, _),) = drawings(folder, shares=shares, placed=placed)
        words = [source.sample(i % len(source), rng).prompt for i in range(200)]
        return sum(bool(re.search("(in|at|on) the ", each)) for each in words)

    assert num_placed(0.0) == 0
    assert num_placed(1.0) > 30  # half are English, and some places are not clear


def test_scenes_of_one_kind_of_object_are_drawn_as_often_as_asked(folder: Path):
    shares = [0, 3, 1, 0]

    def drawn(**options: float) -> dict[tuple[int, bool], float]:
        weights: dict[tuple[int, bool], float] = {}
        for source, weight in drawings(folder, shares=shares, **options):
            for row in source.rows.tolist():
                things = source.scenes.scene(row).objects
                key = (len(things), len({(each.colour, each.shape) for each in things}) == 1)
                weights[key] = weights.get(key, 0.0) + weight / len(source.rows)
        return weights

    as_there, mostly = drawn(), drawn(alike=0.8)
    # No three alike are in the folder: a share of nothing goes to the others.
    assert mostly == pytest.approx({(2, True): 0.6, (2, False): 0.15, (3, False): 0.25})
    assert as_there[2, True] + as_there[2, False] == pytest.approx(0.75)
    assert 0 < as_there[2, True] < 0.5
    assert set(drawn(alike=1.0)) == {(2, True), (3, False)}
    with pytest.raises(ConfigError, match=r"alike=0\.5 without shares"):
        drawings(folder, alike=0.5)


def test_scenes_are_drawn_from_plans_as_often_as_asked(folder: Path):
    rng, weights = np.random.default_rng(0), {True: 0.0, False: 0.0}
    for source, weight in drawings(folder, shares=[0, 1, 1, 0], planned=0.75):
        prompts = [source.sample(i % len(source), rng).prompt for i in range(60)]
        weights[source.planned] += weight
        of_plans = [all(" the " in part for part in prompt.split(", ")) for prompt in prompts]
        assert all(of_plans) if source.planned else not all(of_plans)
    assert weights == {True: pytest.approx(0.75), False: pytest.approx(0.25)}
    assert {s.planned for s, _ in drawings(folder, planned=1.0)} == {True}
    assert {s.planned for s, _ in drawings(folder)} == {False}


def test_plans_of_scenes_without_clear_places_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(SceneFolder, "are_placed", lambda self: np.zeros(len(self), bool))
    with pytest.raises(DataError, match=r"planned=0\.5: of some share, no scene has clear places"):
        drawings(folder, planned=0.5)


@pytest.mark.parametrize("option", ["alike", "placed", "plain", "planned"])
@pytest.mark.parametrize("value", [-0.1, 1.5, "often"])
def test_how_often_something_is_so_is_from_0_to_1(folder: Path, option: str, value: Any):
    with pytest.raises(ConfigError, match=rf"{option}.*{value}.*: wanted a number"):
        drawings(folder, shares=[1, 1], **{option: value})


def test_scenes_are_taken_by_their_number_of_objects_if_shares_say_so(folder: Path):
    weighted = drawings(folder, shares=(3.0, 1.0))
    assert [weight for _, weight in weighted] == [0.75, 0.25]
    scenes, rng = SceneFolder(folder), np.random.default_rng(0)
    for num_objects, (source, _) in enumerate(weighted, start=1):
        samples = [source.sample(row, rng) for row in range(len(source))]
        numbers = {int(sample.latent[0, 0, 0]) for sample in samples}
        with_that_many = {
            i for i in range(NUM_SCENES) if len(scenes.scene(i).objects) == num_objects
        }
        assert numbers == with_that_many


def test_questions_may_be_of_some_kinds_about_some_scenes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    seen: list[int] = []

    def ask(
        scene: Scene, rng: np.random.Generator, *, language: Language, placed_by: tuple[Name, ...]
    ) -> list[Question]:
        seen.append(len(scene.objects))
        assert placed_by == ("shape",)
        kinds: tuple[Kind, ...] = get_args(Kind)
        return [Question(kind=k, text=f"{k}?", answer=k, language=language) for k in kinds]

    monkeypatch.setattr(sources, "ask_all", ask)
    about = config(folder, shares=[0, 1], kinds=["position", "relation"], placed_by=["shape"])
    ((source, weight),) = scene_questions(about)
    assert weight == 1.0
    for row in range(len(source)):
        turns = source.sample(row, np.random.default_rng(row)).turns
        assert {turn.answer for turn in turns} == {"position", "relation"}
    scenes = SceneFolder(folder)
    num_of_two = sum(len(scenes.scene(i).objects) == 2 for i in range(NUM_SCENES))
    assert seen == [2] * num_of_two


def test_unknown_kinds_of_question_and_of_names_are_refused(folder: Path):
    with pytest.raises(ConfigError, match="placed_by is 'size': wanted one of both, shape, colour"):
        scene_questions(config(folder, placed_by=["size"]))
    with pytest.raises(ConfigError, match="kinds is 'color': wanted one of colour, shape"):
        scene_questions(config(folder, kinds=["color"]))


def test_unknown_shapes_and_shapes_nobody_drew_are_refused(folder: Path):
    with pytest.raises(ConfigError, match="shapes is 'hexagon': wanted one of circle, square"):
        scene_questions(config(folder, shapes=["hexagon"]))
    scenes = SceneFolder(folder)
    drawn = [[thing.shape for thing in scenes.scene(i).objects] for i in range(NUM_SCENES)]
    missing = next(shape for shape in SHAPES if [shape] * 4 not in drawn)
    with pytest.raises(DataError, match=f"no scene has 4 objects, all of them {missing}"):
        drawings(folder, shapes=[missing], shares=(0.0, 0.0, 0.0, 1.0))


def test_shapes_choose_scenes_with_and_without_shares(folder: Path):
    scenes, shapes = SceneFolder(folder), ["circle", "square", "triangle", "star", "heart"]
    for options in ({}, {"shares": [1, 1]}):
        rows = [
            row
            for weighted in scene_questions(config(folder, shapes=shapes, **options))
            for row in weighted.source.rows.tolist()
        ]
        found = {thing.shape for row in rows for thing in scenes.scene(row).objects}
        assert rows
        assert found <= set(shapes)
        assert len(rows) < len(scenes)


def test_without_shares_every_scene_is_drawn(folder: Path):
    ((source, weight),) = drawings(folder)
    assert (len(source), weight) == (NUM_SCENES, 1.0)


def test_a_share_for_scenes_that_are_not_there_is_refused(folder: Path):
    with pytest.raises(DataError, match=r"no scene has 5 objects"):
        drawings(folder, shares=(1.0, 0.0, 0.0, 0.0, 1.0))


def test_options_that_are_unknown_are_refused(folder: Path):
    with pytest.raises(ConfigError, match=r"unknown key 'share' in .*did you mean shares"):
        drawings(folder, share=(1.0,))


def test_latents_that_are_missing_or_of_other_scenes_are_refused(folder: Path, tmp_path: Path):
    elsewhere = config(folder, latents=str(tmp_path / "latents.npy"))
    with pytest.raises(DataError, match=r"no latents at .*run the recipe's VAE step"):
        scene_drawings(elsewhere)
    np.save(tmp_path / "latents.npy", np.zeros((3, 4, 2, 2)))
    with pytest.raises(DataError, match=r"3 latents for 20 scenes"):
        scene_drawings(elsewhere)


def test_prompts_alone_are_of_training_scenes_in_both_languages_and_relate_as_often_as_asked():
    """What preference learning draws; mini's rewards can read each of them."""
    options = {"objects": [2], "identical": False, "placed": 0.0, "plain": 1.0, "related": 0.5}
    given = SourceConfig(format="scene-prompts", path="scenes", options=options)
    ((source, _),) = unrendered(ScenePrompts, given)
    rng = np.random.default_rng(0)
    samples = [source.sample(0, rng) for _ in range(200)]
    asked = [asked_by(sample.prompt) for sample in samples]
    assert all(each.pixel_values is each.latent is None for each in samples)
    assert {each.objects.total() for each in asked} == {2}
    assert all(not is_held_out(composition_of(each.objects)) for each in asked)
    assert 0.4 < np.mean([each.related is not None for each in asked]) < 0.6
    assert 0.4 < np.mean([each.language == "ko" for each in asked]) < 0.6
    assert len({sample.prompt for sample in samples}) > 190


def composition_of(objects: Counter) -> str:
    things = tuple(
        SceneObject(colour=colour, shape=shape, size="small", x=0.5, y=0.5)
        for colour, shape in objects.elements()
    )
    return composition(Scene(objects=things, background=Background(kind="plain", tones=("white",))))


def test_without_latents_the_images_are_there_to_be_encoded(folder: Path):
    ((source, _),) = scene_drawings(config(folder))
    sample = source.sample(0, np.random.default_rng(0))
    assert isinstance(sample, GenerationSample)
    assert sample.latent is None
    assert sample.pixel_values is not None
