"""What each patch of a scene shows, in words: local supervision for the understanding tower.

A region is one object or the background. Its phrase names all that is to be seen of it: size,
colour, shape and, where it is clear, the 3x3 cell ("small red circle, top left").
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from janusflow.mini.render import draw_shape
from janusflow.mini.scenes import Scene, SceneObject, position
from janusflow.mini.words import KOREAN_POSITIONS, Language, background_phrase, noun

NOWHERE = -1
"""Region of a patch that shows a little of several things."""
OBJECT_COVERAGE = 0.25
"""A patch belongs to an object that covers at least this much of it."""
BACKGROUND_COVERAGE = 0.02
"""A patch belongs to the background if objects cover at most this much of it."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A phrase, and a text that is the same for all phrases that say the same."""

    phrase: str
    meaning: str


def regions(scene: Scene, rng: np.random.Generator, *, language: Language) -> list[Region]:
    """Name the background, then every object, in one language."""
    background = Region(
        phrase=background_phrase(scene.background, language), meaning=repr(scene.background)
    )
    return [background, *(_object_region(thing, rng, language) for thing in scene.objects)]


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
    name = noun(thing, language, sized=True, rng=rng)
    place = position(thing)
    meaning = f"{thing.size} {thing.colour} {thing.shape} {place}"
    if place is None:
        return Region(phrase=name, meaning=meaning)
    where = place if language == "en" else KOREAN_POSITIONS[place]
    return Region(phrase=f"{name}, {where}", meaning=meaning)


def _coverage(thing: SceneObject, size: int, grid: int) -> np.ndarray:
    mask = draw_shape(thing.shape, x=thing.x, y=thing.y, radius=thing.radius, size=size)
    return np.asarray(mask.reduce(size // grid), dtype=np.float32).ravel() / 255
