"""What ShapesEval asks to be drawn and asked about: GenEval's six categories, in coloured shapes.

Every prompt is of a composition that `mini` never trained on (`mini/scenes/scene.py`), names colour
and shape of every object in one fixed wording a language, and says nothing else. An image must hold
exactly the asked number of objects, and then what its category judges: docs/evaluation.md has a
table of that.

Where one object lies, seen from another, is `mini/scenes.relation`: along the axis on which the
centres differ most. Items are a function of the seed, so every model gets the same, and the first
ones stay when the limit grows.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image

from janusflow.mini.language.questions import Question, ask_all
from janusflow.mini.language.words import (
    ENGLISH_COUNTS,
    ENGLISH_RELATIONS,
    KOREAN_COUNTS,
    KOREAN_RELATIONS,
    LANGUAGES,
    Language,
    join,
    noun,
    with_article,
)
from janusflow.mini.scenes.detector import look_at
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import (
    MAX_OBJECTS,
    Colour,
    Relation,
    Scene,
    SceneObject,
    Shape,
    arranged_anew,
    reading_order,
    relation,
    sample_scene,
)

Category = Literal["single", "two", "counting", "colours", "position", "attribution"]
CATEGORIES: tuple[Category, ...] = get_args(Category)
MAX_ANSWER_TOKENS = 96
"""A description of four objects in Korean fits."""
Kinds = Counter[tuple[Colour, Shape]]


@dataclass(frozen=True, kw_only=True)
class ShapePrompt:
    """What is asked to be drawn: the objects of a scene, in the order the prompt names them."""

    category: Category
    scene: Scene

    def text(self, language: Language) -> str:
        """The category's fixed wording, in canonical words."""
        if self.category == "counting":
            first, number = self.scene.objects[0], len(self.scene.objects)
            if language == "ko":
                return f"{noun(first, 'ko')} {KOREAN_COUNTS[number]} 개"
            return f"{ENGLISH_COUNTS[number]} {noun(first, 'en', count=number)}"
        names = [noun(thing, language) for thing in self.scene.objects]
        if language == "en":
            names = [with_article(name) for name in names]
        if self.category != "position":
            return join(names, language)
        if language == "en":
            return f"{names[0]} {ENGLISH_RELATIONS[self.relation][0]} {names[1]}"
        return f"{names[1]} {KOREAN_RELATIONS[self.relation]}에 {names[0]}"

    def arranged_anew(self, rng: np.random.Generator) -> "ShapePrompt":
        """The same prompt with another scene that it describes as well."""
        while True:
            prompt = replace(self, scene=arranged_anew(self.scene, rng))
            if self.category != "position" or prompt.relation == self.relation:
                return prompt

    @property
    def relation(self) -> Relation:
        """Where the object named first is, seen from the last."""
        return relation(self.scene.objects[0], self.scene.objects[-1])

    def judge(self, image: Image.Image) -> dict[str, Any]:
        """A verdict for each trait, `right` for the one that counts, and what was found.

        The traits: objects, all of them and no other; colours or shapes alone, with their numbers;
        relation, of the right objects, where it is asked for. Beside them `outline`: how well the
        objects fill their shapes' outlines, on average; None of an empty image.
        """
        looked = look_at(image)
        found = reading_order(tuple(each.thing for each in looked))
        seen, wanted = kinds(found), kinds(self.scene.objects)
        traits = {
            "objects": seen == wanted,
            "colours": _nth(seen, 0) == _nth(wanted, 0),
            "shapes": _nth(seen, 1) == _nth(wanted, 1),
        }
        why = f"found {', '.join(names_of(seen)) or 'nothing'}"
        if self.category == "position":
            lies = None
            if traits["objects"]:
                first = kinds(self.scene.objects[:1])
                lies = relation(*sorted(found, key=lambda thing: kinds([thing]) != first))
            traits["relation"] = lies == self.relation
            why += f", {lies}" if lies else ""
        return {
            "right": traits["relation" if self.category == "position" else "objects"],
            "traits": traits,
            "found": names_of(seen),
            "outline": fmean(each.overlap for each in looked) if looked else None,
            "why": why,
        }


def kinds(objects: Iterable[SceneObject]) -> Kinds:
    """The (colour, shape) pairs of objects, with their numbers."""
    return Counter((thing.colour, thing.shape) for thing in objects)


def names_of(found: Kinds) -> list[str]:
    """Kinds as words that stand in a report, always in the same order."""
    return sorted(f"{colour} {shape}" for colour, shape in found.elements())


def _nth(pairs: Kinds, n: int) -> Counter[str]:
    return Counter(pair[n] for pair in pairs.elements())


def shape_prompts(category: Category, number: int, *, seed: int) -> list[ShapePrompt]:
    """The first so many of a category."""
    made = []
    for index in range(number):
        rng = np.random.default_rng((seed, CATEGORIES.index(category), index))
        scene = _scene(category, rng, count=2 + index % (MAX_OBJECTS - 1))
        objects = tuple(scene.objects[i] for i in rng.permutation(len(scene.objects)))
        made.append(ShapePrompt(category=category, scene=replace(scene, objects=objects)))
    return made


def _scene(category: Category, rng: np.random.Generator, *, count: int) -> Scene:
    """A held-out scene that fits a category; `count` is for counting."""
    num_objects = {"single": 1, "colours": 1, "counting": count}.get(category, 2)
    identical = None if num_objects == 1 else category == "counting"
    while True:
        scene = sample_scene(rng, num_objects=num_objects, split="heldout", identical=identical)
        first, last = scene.objects[0], scene.objects[-1]
        differ_in_both = first.colour != last.colour and first.shape != last.shape
        are_alike = len(kinds(scene.objects)) == 1
        if {"counting": are_alike, "attribution": differ_in_both}.get(category, True):
            return scene


def held_out_scenes(num_scenes: int, *, seed: int) -> list[Scene]:
    """Scenes of compositions that training never saw, of one to four objects."""
    numbers = range(num_scenes)
    return [sample_scene(np.random.default_rng((seed, n)), split="heldout") for n in numbers]


def questioned_scenes(
    num_questions: int, *, seed: int, size: int
) -> list[tuple[Image.Image, Question]]:
    """Renders of held-out scenes, each with one question about it, the languages in turn."""
    items: list[tuple[Image.Image, Question]] = []
    for index, scene in enumerate(held_out_scenes(num_questions, seed=seed)):
        rng = np.random.default_rng((seed, index))
        asked = ask_all(scene, rng, language=LANGUAGES[index % len(LANGUAGES)])
        items.append((render(scene, size=size), asked[rng.integers(len(asked))]))
    return items
