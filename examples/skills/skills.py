"""Three skills that mini does not have: their pictures and questions, and exact judges of each.

house     a new thing: a wall with a roof, in one colour
outlined  a style: shapes that mini knows, drawn as a line
palette   a new kind of question: the colours alone, object by object

Judges look at pixels and at words; nothing of them is learned. Test items have seeds of their own,
and their colours and shapes occur together in no picture that is learnt.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, get_args

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from janusflow.mini.language.words import with_article
from janusflow.mini.scenes.detector import is_inked, look_at, on_grid
from janusflow.mini.scenes.render import COLOUR_RGB, draw_shape, render
from janusflow.mini.scenes.scene import COLOURS, SHAPES, Colour, Shape, reading_order, sample_scene

Skill = Literal["house", "outlined", "palette"]
SKILLS: tuple[Skill, ...] = get_args(Skill)
SIZE = 64
RADIUS = 0.32
LINE = 3
"""Width of an outline, in pixels."""
ROOF = ((-1.1, -0.1), (0, -1.1), (1.1, -0.1))
HOUSE = np.array([(-0.8, 1), (-0.8, -0.1), *ROOF, (0.8, -0.1), (0.8, 1)])
"""Corners in units of the radius, y down."""
PLACES = (0.375, 0.5, 0.625)
FILLED = tuple(shape for shape in SHAPES if shape != "ring")
QUESTION = "Which colours are there, object by object?"
LEAST_OVERLAP = 0.75
"""Of a house's pixels with those of a house as wide and high, intersection over union."""
MOST_INK = 0.8
"""What of its shape a line may cover."""


class Item(NamedTuple):
    """A picture with what it shows: its caption, or the question's answer."""

    image: Image.Image
    words: str


def items(skill: Skill, number: int, *, seed: int, is_test: bool) -> Iterator[Item]:
    """So many pictures of a skill, other ones for a test."""
    rng = np.random.default_rng((SKILLS.index(skill), seed, is_test))
    for index in range(number):
        if skill == "palette":
            scene = sample_scene(rng, split="heldout" if is_test else "train")
            colours = [thing.colour for thing in reading_order(scene.objects)]
            yield Item(render(scene, size=SIZE), ", ".join(colours))
            continue
        shape, colour = _pair(skill, index, is_test=is_test)
        mask = _mask(shape, x=rng.choice(PLACES), y=rng.choice(PLACES))
        image = Image.new("RGB", (SIZE, SIZE), "white")
        image.paste(COLOUR_RGB[colour], mask=mask)
        yield Item(image, caption(skill, colour, shape))


def caption(skill: Skill, colour: Colour, shape: Shape | None) -> str:
    """What a picture is learnt as, and asked for by."""
    return with_article(f"{colour} house" if skill == "house" else f"outlined {colour} {shape}")


def is_right(skill: Skill, item: Item, got: Image.Image | str) -> bool:
    """Judge a drawing by its caption, or an answer about the picture."""
    if isinstance(got, str):
        return got.strip().rstrip(".").lower() == item.words
    ink = is_inked(on_grid(got))
    if not ink.any():
        return False
    if skill == "house":
        rgb = np.median(on_grid(got)[ink], axis=0)
        colour = min(COLOURS, key=lambda name: np.abs(rgb - COLOUR_RGB[name]).sum())
        return caption(skill, colour, None) == item.words and house_overlap(ink) >= LEAST_OVERLAP
    solid = _without_holes(ink)
    if ink.sum() > MOST_INK * solid.sum():
        return False
    pixels = on_grid(got)
    pixels[solid] = np.median(pixels[ink], axis=0)
    found = [each.thing for each in look_at(Image.fromarray(pixels.astype(np.uint8)))]
    return [caption(skill, each.colour, each.shape) for each in found] == [item.words]


def house_overlap(ink: np.ndarray) -> float:
    """Intersection over union with a house of the same width and height, at the same place."""
    (top, bottom), (left, right) = ((each.min(), each.max() + 1) for each in np.nonzero(ink))
    low, high = HOUSE.min(0), HOUSE.max(0)
    corners = (HOUSE - low) / (high - low) * (right - left - 1, bottom - top - 1) + (left, top)
    house = Image.new("1", ink.shape[::-1])
    ImageDraw.Draw(house).polygon([tuple(corner) for corner in corners.tolist()], fill=1)
    wanted = np.asarray(house)
    return float((ink & wanted).sum() / (ink | wanted).sum())


def _pair(skill: Skill, index: int, *, is_test: bool) -> tuple[Shape | None, Colour]:
    """A colour and, for a style, a shape. Every fourth pair is kept for tests."""
    if skill == "house":
        return None, COLOURS[index % len(COLOURS)]
    pairs = [(shape, colour) for shape in FILLED for colour in COLOURS]
    order = np.random.default_rng(1).permutation(len(pairs))
    kept = [pairs[place] for rank, place in enumerate(order) if (rank % 4 == 0) == is_test]
    return kept[index % len(kept)]


def _mask(shape: Shape | None, *, x: float, y: float) -> Image.Image:
    """How much of each pixel the thing covers."""
    if shape is not None:
        large = draw_shape(shape, x=x, y=y, radius=RADIUS, size=4 * SIZE)
        inner = large.filter(ImageFilter.MinFilter(8 * LINE + 1))
        return ImageChops.subtract(large, inner).reduce(4)
    mask = Image.new("L", (4 * SIZE, 4 * SIZE))
    corners = (HOUSE * RADIUS + (x, y)) * 4 * SIZE - 0.5
    ImageDraw.Draw(mask).polygon([tuple(corner) for corner in corners.tolist()], fill=255)
    return mask.reduce(4)


def _without_holes(ink: np.ndarray) -> np.ndarray:
    """Ink and all that it surrounds."""
    outside = Image.fromarray(np.pad(ink, 1).astype(np.uint8)).copy()  # an array's is read-only
    ImageDraw.floodfill(outside, (0, 0), 2)
    return np.asarray(outside)[1:-1, 1:-1] != 2
