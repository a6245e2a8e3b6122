"""What each patch of a scene shows, in words: local supervision for the understanding tower.

A region is one object or the background. Its phrase names one thing to be seen of it: "circle",
"red object", "small object", or "background". A phrase that names several is told from most others
by its colour alone, which patches show at once, so that little asks the tower for shapes; and
telling one pattern of the background from another drowns the rest (benchmarks/notes.md).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from janusflow.mini.language.words import (
    ENGLISH_SIZES,
    KOREAN_SIZES,
    Language,
    colour_name,
    pick,
    shape_name,
)
from janusflow.mini.scenes.render import draw_shape
from janusflow.mini.scenes.scene import Scene, SceneObject

NOWHERE = -1
"""Region of a patch that shows a little of several things."""
OBJECT_COVERAGE = 0.25
"""A patch belongs to an object that covers at least this much of it."""
BACKGROUND_COVERAGE = 0.02
"""A patch belongs to the background if objects cover at most this much of it."""
BACKGROUND: dict[Language, str] = {"en": "background", "ko": "배경"}
OBJECT: dict[Language, str] = {"en": "object", "ko": "도형"}

Trait = Literal["background", "size", "colour", "shape"]
NAMED: tuple[Trait, ...] = ("size", "colour", "shape")
"""What the phrase of an object names, each as often as the others."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """What is to be seen of an object or the background, and a phrase for one trait of it."""

    traits: dict[Trait, str]
    named: dict[Trait, str]
    phrase: str


def regions(scene: Scene, rng: np.random.Generator, *, language: Language) -> list[Region]:
    """Name the background, then every object, in one language."""
    traits: dict[Trait, str] = {"background": "yes"}
    background = Region(traits=traits, named=traits, phrase=BACKGROUND[language])
    return [background, *(_object_region(thing, rng, language) for thing in scene.objects)]


def is_true(named: list[Region]) -> Bool[np.ndarray, "k k"]:
    """Tell of which regions (columns) the phrase of each region (rows) is true."""
    wanted = [frozenset(region.named.items()) for region in named]
    shown = [region.traits.items() for region in named]
    holds = {want: np.array([want <= each for each in shown]) for want in set(wanted)}
    return np.stack([holds[want] for want in wanted])


def region_of_patch(scene: Scene, *, size: int, grid: int) -> Int[np.ndarray, " p"]:
    """Tell which of `regions` each patch shows, in reading order, or NOWHERE.

    Args:
        size: rows and columns of the image, in pixels.
        grid: rows and columns of patches; a divisor of `size`.
    """
    coverage = np.stack([_coverage(thing, size, grid) for thing in scene.objects])
    owner = np.where(coverage.max(0) >= OBJECT_COVERAGE, coverage.argmax(0) + 1, NOWHERE)
    return np.where(coverage.sum(0) <= BACKGROUND_COVERAGE, 0, owner)


def _object_region(thing: SceneObject, rng: np.random.Generator, language: Language) -> Region:
    traits: dict[Trait, str] = {
        "size": thing.size,
        "colour": thing.colour,
        "shape": thing.shape,
    }
    trait = pick(rng, NAMED)
    match trait:
        case "shape":
            phrase = shape_name(thing.shape, language, rng)
        case "colour":
            phrase = f"{colour_name(thing.colour, language, rng)} {OBJECT[language]}"
        case _:
            english = pick(rng, ENGLISH_SIZES[thing.size])
            size = english if language == "en" else KOREAN_SIZES[thing.size]
            phrase = f"{size} {OBJECT[language]}"
    return Region(traits=traits, named={trait: traits[trait]}, phrase=phrase)


def _coverage(thing: SceneObject, size: int, grid: int) -> np.ndarray:
    mask = draw_shape(thing.shape, x=thing.x, y=thing.y, radius=thing.radius, size=size)
    return np.asarray(mask.reduce(size // grid), dtype=np.float32).ravel() / 255
