"""Scenes of coloured shapes: what mini is trained on, as exact labels.

A scene is data, not pixels: `render.py` draws it, `captions.py` and `questions.py` put it
into words, `detector.py` reads it back from pixels. Coordinates are fractions of the
image's width, x to the right and y down. Every random draw takes the caller's numpy
Generator.

Held-out compositions. A composition is the multiset of (colour, shape) pairs in a scene,
written canonically by `composition`. One in eight is held out from training, decided by the
first eight bytes of the SHA-256 of "2351: " + that text, modulo 8: no list to keep, the same
on every machine. (The salt was searched for so that the lone objects held out cover every
shape and nearly every colour; nothing was trained to choose it.)
`sample_scene(split="train")` never returns one, `split="heldout"` returns nothing else. The
parts of a held-out composition still occur in other training scenes: what is measured is
putting known parts together anew.
"""

import hashlib
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np

from janusflow.config.errors import DataError

Shape = Literal[
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "diamond",
    "cross",
    "ring",
    "crescent",
]
Colour = Literal[
    "red",
    "orange",
    "yellow",
    "green",
    "cyan",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
]
Size = Literal["small", "medium", "large"]
BackgroundKind = Literal["plain", "stripes", "dots", "checks", "gradient"]
Tone = Literal["white", "light grey", "cream", "pale blue", "pale green"]
Relation = Literal["left", "right", "above", "below"]
Split = Literal["train", "heldout"]

# No hexagon: six pixels across its radius (small, 64 px) it is a circle once a VAE blurred it.
SHAPES: tuple[Shape, ...] = get_args(Shape)
COLOURS: tuple[Colour, ...] = get_args(Colour)
SIZES: tuple[Size, ...] = get_args(Size)
BACKGROUND_KINDS: tuple[BackgroundKind, ...] = get_args(BackgroundKind)
TONES: tuple[Tone, ...] = get_args(Tone)

RADIUS: dict[Size, float] = {"small": 0.125, "medium": 0.175, "large": 0.245}
MAX_OBJECTS = 4
NUM_OBJECTS_PROBABILITIES = (0.35, 0.35, 0.15, 0.15)
IDENTICAL_PROBABILITY = 0.25
PLAIN_PROBABILITY = 0.6
IN_CELL_PROBABILITY = 0.7
"""How often every object stands clearly inside one of the 3x3 cells, so that words can place it."""
BOUND = 1.12
"""No shape reaches further from its centre than this many radii."""
LATTICE = 8
"""Centres stand on eighths of the width: corners of the patches that the tower and the LLM read of
64 pixels, so that an object looks the same to them wherever it stands, which a small model learns
in far fewer images."""
GAP = 0.03
"""Least empty space between the bounding circles of two objects."""
MARGIN = 0.015
"""Least empty space between a bounding circle and the image's edge."""
DOMINANCE = 2.0
"""A relation is clear when its axis differs this many times more than the other one."""
CELL_MARGIN = 0.05
"""A position is clear when the centre is this far from the borders of the 3x3 cells."""
HELD_OUT_ONE_IN = 8
HELD_OUT_SALT = "2351: "

POSITIONS: tuple[str, ...] = (
    "top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom",
    "bottom right",
)  # fmt: skip
"""The 3x3 cells in reading order."""


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One shape; (x, y) is its centre."""

    shape: Shape
    colour: Colour
    size: Size
    x: float
    y: float

    @property
    def radius(self) -> float:
        """Nominal radius, as a fraction of the image's width."""
        return RADIUS[self.size]

    @property
    def bound(self) -> float:
        """Radius of the circle that no part of the shape leaves."""
        return BOUND * self.radius


@dataclass(frozen=True, kw_only=True)
class Background:
    """One tone when plain, two when patterned."""

    kind: BackgroundKind
    tones: tuple[Tone, ...]

    def __post_init__(self) -> None:
        wanted = 1 if self.kind == "plain" else 2
        if len(self.tones) != wanted:
            raise DataError(
                f"A {self.kind} background has {len(self.tones)} tones, wanted {wanted}."
                " Name one tone for plain and two for a pattern."
            )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Objects on a background."""

    objects: tuple[SceneObject, ...]
    background: Background


def composition(scene: Scene) -> str:
    """Write the multiset of (colour, shape) pairs the same way whatever the objects' order."""
    return _canonical([(thing.colour, thing.shape) for thing in scene.objects])


def is_held_out(composition: str) -> bool:
    """Tell whether training never sees this composition (see the module's docstring)."""
    digest = hashlib.sha256((HELD_OUT_SALT + composition).encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def relation(a: SceneObject, b: SceneObject) -> Relation:
    """Say where a is, seen from b, along the axis on which they differ most."""
    dx, dy = a.x - b.x, a.y - b.y
    if abs(dx) > abs(dy):
        return "left" if dx < 0 else "right"
    return "above" if dy < 0 else "below"


def has_clear_relation(a: SceneObject, b: SceneObject) -> bool:
    """Tell whether nobody would dispute `relation(a, b)`."""
    dx, dy = abs(a.x - b.x), abs(a.y - b.y)
    return max(dx, dy) >= DOMINANCE * min(dx, dy)


def position(thing: SceneObject) -> str | None:
    """Name the 3x3 cell the object's centre is in, or None when it is near a cell's border."""
    return clear_cell(thing.x, thing.y)


def clear_cell(x: float, y: float) -> str | None:
    """Name the 3x3 cell of a point, or None when it is near a cell's border."""
    column, row = _cell_index(x), _cell_index(y)
    return None if column is None or row is None else POSITIONS[3 * row + column]


def reading_order(objects: tuple[SceneObject, ...]) -> tuple[SceneObject, ...]:
    """Order as one reads: by thirds of the image from the top, left to right within them."""
    return tuple(sorted(objects, key=lambda thing: (min(int(3 * thing.y), 2), thing.x)))


def sample_scene(
    rng: np.random.Generator,
    *,
    num_objects: int | None = None,
    split: Split = "train",
    identical: bool | None = None,
) -> Scene:
    """Draw a scene whose composition belongs to the split.

    Args:
        num_objects: 1 to 4; None draws it with NUM_OBJECTS_PROBABILITIES.
        split: "train" never returns a held-out composition, "heldout" returns only those.
        identical: True wants two or more objects of one shape and colour, False wants none;
            None draws it for scenes of two or more with IDENTICAL_PROBABILITY.
    """
    _check_request(num_objects, identical)
    count = num_objects or _sample_count(rng, at_least=2 if identical else 1)
    while True:
        repeat = identical if identical is not None else rng.random() < IDENTICAL_PROBABILITY
        kinds = _sample_kinds(rng, count, identical=repeat and count > 1)
        if is_held_out(_canonical(kinds)) != (split == "heldout"):
            continue
        objects = _arranged(kinds, rng)
        if objects is not None:
            return Scene(objects=objects, background=sample_background(rng))


def arranged_anew(scene: Scene, rng: np.random.Generator) -> Scene:
    """Draw other sizes, places and a background for the same objects, in the same order."""
    kinds: list[tuple[Colour, Shape]] = [(thing.colour, thing.shape) for thing in scene.objects]
    objects = None
    while objects is None:
        objects = _arranged(kinds, rng)
    return Scene(objects=objects, background=sample_background(rng))


def _arranged(
    kinds: list[tuple[Colour, Shape]], rng: np.random.Generator
) -> tuple[SceneObject, ...] | None:
    """Draw sizes and places of objects, in their order; None when they did not fit."""
    sizes = _sample_sizes(rng, kinds)
    places = _sample_places(rng, sizes)
    if places is None:
        return None
    return tuple(
        SceneObject(shape=shape, colour=colour, size=size, x=x, y=y)
        for (colour, shape), size, (x, y) in zip(kinds, sizes, places, strict=True)
    )


def sample_background(rng: np.random.Generator) -> Background:
    """Draw a plain background, or a pattern in two different tones."""
    if rng.random() < PLAIN_PROBABILITY:
        return Background(kind="plain", tones=(TONES[rng.integers(len(TONES))],))
    first, second = rng.permutation(len(TONES))[:2]
    kind = BACKGROUND_KINDS[rng.integers(1, len(BACKGROUND_KINDS))]
    return Background(kind=kind, tones=(TONES[first], TONES[second]))


def _canonical(kinds: list[tuple[Colour, Shape]]) -> str:
    return " + ".join(sorted(f"{colour} {shape}" for colour, shape in kinds))


def _cell_index(coordinate: float) -> int | None:
    border_distance = min(abs(coordinate - 1 / 3), abs(coordinate - 2 / 3))
    return None if border_distance < CELL_MARGIN else min(int(3 * coordinate), 2)


def _check_request(num_objects: int | None, identical: bool | None) -> None:
    if num_objects is not None and not 1 <= num_objects <= MAX_OBJECTS:
        raise DataError(f"num_objects={num_objects}, wanted 1 to {MAX_OBJECTS}. Ask for fewer.")
    if identical and num_objects == 1:
        raise DataError("identical=True with num_objects=1: one object repeats nothing. Ask for 2.")


def _sample_count(rng: np.random.Generator, *, at_least: int) -> int:
    weights = np.array(NUM_OBJECTS_PROBABILITIES)
    weights[: at_least - 1] = 0.0
    return int(rng.choice(MAX_OBJECTS, p=weights / weights.sum())) + 1


def _sample_kinds(
    rng: np.random.Generator, count: int, *, identical: bool
) -> list[tuple[Colour, Shape]]:
    """Draw (colour, shape) pairs: all different, or a group of two or more alike, then others."""
    num_alike = 1
    if identical:
        # Half of the longer scenes repeat one object throughout, the rest mix in others.
        num_alike = count if rng.random() < 0.5 else int(rng.integers(2, count + 1))
    codes = rng.choice(len(COLOURS) * len(SHAPES), size=count - num_alike + 1, replace=False)
    kinds = [(COLOURS[code // len(SHAPES)], SHAPES[code % len(SHAPES)]) for code in codes.tolist()]
    return [kinds[0]] * (num_alike - 1) + kinds


def _sample_sizes(rng: np.random.Generator, kinds: list[tuple[Colour, Shape]]) -> list[Size]:
    """Draw sizes that fit: a large object stands alone.

    Objects alike in shape and colour share their size, so "three small red circles" is true.
    """
    allowed = SIZES if len(kinds) == 1 else SIZES[:2]
    by_kind: dict[tuple[Colour, Shape], Size] = {
        kind: allowed[rng.integers(len(allowed))] for kind in kinds
    }
    return [by_kind[kind] for kind in kinds]


def _sample_places(
    rng: np.random.Generator, sizes: list[Size], *, num_tries: int = 256
) -> list[tuple[float, float]] | None:
    """Draw centres that keep gaps and margins; None when no try of the batch succeeded."""
    bounds = np.array([BOUND * RADIUS[size] for size in sizes])
    in_cells = rng.random() < IN_CELL_PROBABILITY
    centres = np.empty((num_tries, len(sizes), 2))
    for index, low in enumerate(np.ceil((bounds + MARGIN) * LATTICE).astype(int)):
        free = np.arange(low, LATTICE - low + 1) / LATTICE
        clear = [x for x in free if not in_cells or _cell_index(x) is not None]
        centres[:, index] = rng.choice(clear, size=(num_tries, 2))
    fits = np.ones(num_tries, dtype=bool)
    for a, b in combinations(range(len(sizes)), 2):
        distance = np.linalg.norm(centres[:, a] - centres[:, b], axis=-1)
        fits &= distance >= bounds[a] + bounds[b] + GAP
    if len(sizes) == 2:
        # Half side by side, half one above the other, never in between.
        offset = np.abs(centres[:, 0] - centres[:, 1])
        axis = int(rng.integers(2))
        fits &= offset[:, axis] >= DOMINANCE * offset[:, 1 - axis]
    found = np.flatnonzero(fits)
    if not found.size:
        return None
    return [(x, y) for x, y in centres[found[0]].tolist()]
