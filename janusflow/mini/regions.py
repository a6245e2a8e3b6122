"""What each patch of a scene shows, in words: local supervision for the understanding tower.

A region is one object or the background. Its phrase names some of what is to be seen of it:
"small red circle, top left", but as often "circle" or "red object, left". Were everything always
named, colour, size and place would tell nearly all phrases of a batch apart, and nothing would ask
the tower for shapes (benchmarks/notes.md).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int

from janusflow.mini.render import draw_shape
from janusflow.mini.scenes import Scene, SceneObject, position
from janusflow.mini.words import (
    ENGLISH_SIZES,
    KOREAN_POSITIONS,
    KOREAN_SIZES,
    Language,
    background_phrase,
    colour_name,
    pick,
    shape_name,
)

NOWHERE = -1
"""Region of a patch that shows a little of several things."""
OBJECT_COVERAGE = 0.25
"""A patch belongs to an object that covers at least this much of it."""
BACKGROUND_COVERAGE = 0.02
"""A patch belongs to the background if objects cover at most this much of it."""
NAMED_PROBABILITY = 0.5
"""How often a phrase names a trait; one that names none is drawn again."""
OBJECT: dict[Language, str] = {"en": "object", "ko": "도형"}

Trait = Literal["background", "size", "colour", "shape", "place"]


@dataclass(frozen=True, kw_only=True)
class Region:
    """What is to be seen of an object or the background, and a phrase that names some of it."""

    traits: dict[Trait, str]
    named: dict[Trait, str]
    phrase: str


def regions(scene: Scene, rng: np.random.Generator, *, language: Language) -> list[Region]:
    """Name the background, then every object, in one language."""
    traits: dict[Trait, str] = {"background": repr(scene.background)}
    phrase = background_phrase(scene.background, language)
    background = Region(traits=traits, named=traits, phrase=phrase)
    return [background, *(_object_region(thing, rng, language) for thing in scene.objects)]


def is_true(named: list[Region]) -> Bool[np.ndarray, "k k"]:
    """Tell of which regions (columns) the phrase of each region (rows) is true."""
    return np.array([[a.named.items() <= b.traits.items() for b in named] for a in named])


def region_of_patch(scene: Scene, *, size: int, grid: int) -> Int[np.ndarray, " p"]:
    """Tell which of `regions` each patch shows, in reading order, or NOWHERE.

    Args:
        scene: what is rendered.
        size: rows and columns of the picture, in pixels.
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
    place = position(thing)
    if place is not None:
        traits["place"] = place
    named: dict[Trait, str] = {}
    while not named:
        named = {key: value for key, value in traits.items() if rng.random() < NAMED_PROBABILITY}
    words = []
    if "size" in named:
        english = pick(rng, ENGLISH_SIZES[thing.size])
        words.append(english if language == "en" else KOREAN_SIZES[thing.size])
    if "colour" in named:
        words.append(colour_name(thing.colour, language, rng))
    words.append(shape_name(thing.shape, language, rng) if "shape" in named else OBJECT[language])
    phrase = " ".join(words)
    if "place" in named:
        phrase += f", {named['place'] if language == 'en' else KOREAN_POSITIONS[named['place']]}"
    return Region(traits=traits, named=named, phrase=phrase)


def _coverage(thing: SceneObject, size: int, grid: int) -> np.ndarray:
    mask = draw_shape(thing.shape, x=thing.x, y=thing.y, radius=thing.radius, size=size)
    return np.asarray(mask.reduce(size // grid), dtype=np.float32).ravel() / 255
