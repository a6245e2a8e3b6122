"""Read a scene's objects back from pixels alone; nothing here is learned.

1. Ink: every background tone is pale in all channels, every object colour is dark in one, so
   255 minus the darkest channel tells objects from any background.
2. Objects: connected groups of inked pixels; specks are dropped.
3. Colour: the nearest of the palette to the group's core, away from its blurred rim.
4. Shape: each shape is drawn with the group's own area and centre of mass; the best overlap
   (intersection over union of coverages) names it, and the area then tells its size.

Meant for renders and for images a model drew: blur, noise and sizes in between are tolerated.
Touching objects count as one. Every image is looked at in 64 x 64 pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageFilter

from janusflow.config.errors import ImageError
from janusflow.mini.scenes.render import COLOUR_RGB, TONE_RGB, draw_shape, outline
from janusflow.mini.scenes.scene import RADIUS, SHAPES, Colour, SceneObject, Shape

GRID = 64
"""Rows and columns in which an image is looked at."""
MIN_IMAGE_SIZE = 32
MIN_AREA = 14
"""Fewest pixels of an object; the least object that is drawn (a small crescent) has 46."""
RIM = 2
"""How far beyond the inked pixels an object's blurred rim reaches."""
BLUR = 1.0
"""Pixels of blur of the second drawing a group is compared with: decoders soften edges."""

_palest_object = min(255 - min(rgb) for rgb in COLOUR_RGB.values())
_darkest_tone = max(255 - min(rgb) for rgb in TONE_RGB.values())
INK_THRESHOLD = (_palest_object + _darkest_tone) / 2


@dataclass(frozen=True, kw_only=True)
class _Blob:
    """One group of inked pixels: its core's colour and how much of each pixel it covers."""

    rgb: Float[np.ndarray, "3"]
    coverage: Float[np.ndarray, "y x"]


@dataclass(frozen=True, kw_only=True)
class Found:
    """An object, and how well its pixels fill the outline that it should have."""

    thing: SceneObject
    overlap: float
    """Intersection over union of the pixels' coverage and the shape's, of its area and place, sharp
    or blurred."""
    rgb: tuple[float, float, float]
    """Of its core, 0 to 255."""


def look_at(image: Image.Image) -> list[Found]:
    """Find the objects of a square image of at least 32 pixels a side."""
    return [_identify(blob) for blob in _blobs(on_grid(image))]


def on_grid(image: Image.Image) -> Float[np.ndarray, "64 64 3"]:
    """The pixels in which an image is looked at, RGB from 0 to 255.

    Raises:
        ImageError: it is not square, or smaller than 32 pixels a side.
    """
    if image.width != image.height or image.width < MIN_IMAGE_SIZE:
        raise ImageError(
            f"The image is {image.width} x {image.height} pixels, wanted a square one of at"
            f" least {MIN_IMAGE_SIZE} x {MIN_IMAGE_SIZE}. Crop or enlarge it first."
        )
    image = image.convert("RGB")
    if image.width != GRID:
        method = Image.Resampling.BOX if image.width > GRID else Image.Resampling.BICUBIC
        image = image.resize((GRID, GRID), method)
    return np.asarray(image, np.float64)


def is_inked(pixels: Float[np.ndarray, "y x 3"]) -> Bool[np.ndarray, "y x"]:
    """Tell which pixels are too dark in one channel to be of any background."""
    return 255 - pixels.min(axis=-1) > INK_THRESHOLD


def is_outside(inked: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Tell which pixels show the background alone: none of their neighbours is inked either."""
    return ~_dilate(inked)


def _blobs(pixels: Float[np.ndarray, "y x 3"]) -> list[_Blob]:
    inked = is_inked(pixels)
    labels = _label(inked)
    outside = is_outside(inked)
    if not outside.any():
        return []
    tone = np.median(pixels[outside], axis=0)
    groups = [labels == label for label in np.unique(labels[inked])]
    found = []
    for group in groups:
        if group.sum() < MIN_AREA:
            continue
        rgb = _core_colour(pixels[_core(group)], tone)
        # A rim pixel is a mix of the object and the tone behind it: its share is a projection.
        share = (pixels - tone) @ (rgb - tone) / max(np.sum((rgb - tone) ** 2), 1.0)
        near = group
        for _ in range(RIM):
            near = _dilate(near)
        near &= ~(inked & ~group)
        found.append(_Blob(rgb=rgb, coverage=np.where(near, share.clip(0.0, 1.0), 0.0)))
    return found


def _identify(blob: _Blob) -> Found:
    area = blob.coverage.sum()
    mean_y, mean_x = _centre_of_mass(blob.coverage) + 0.5
    seen, top, left = _window(blob.coverage)
    side = len(seen)
    best: tuple[float, Shape, float, float, float] | None = None
    for shape in SHAPES:
        unit_area, offset = _moments(shape)
        radius = float(np.sqrt(area / unit_area))
        x, y = (float(mean_x - radius * offset[0]), float(mean_y - radius * offset[1]))
        where = {"x": (x - left) / side, "y": (y - top) / side, "radius": radius / side}
        sharp = draw_shape(shape, **where, size=side)
        blurred = sharp.filter(ImageFilter.GaussianBlur(BLUR))
        overlap = max(_overlap(seen, sharp), _overlap(seen, blurred))
        if best is None or overlap > best[0]:
            best = overlap, shape, x / GRID, y / GRID, radius / GRID
    assert best is not None, "there is at least one shape"
    overlap, shape, x, y, radius = best
    size = min(RADIUS, key=lambda name: abs(np.log(RADIUS[name] / radius)))
    thing = SceneObject(shape=shape, colour=_nearest_colour(blob.rgb), size=size, x=x, y=y)
    red, green, blue = blob.rgb.tolist()
    return Found(thing=thing, overlap=overlap, rgb=(red, green, blue))


def _window(coverage: Float[np.ndarray, "y x"]) -> tuple[np.ndarray, int, int]:
    """Cut out the square around what is covered; give it with its top row and left column."""
    rows, columns = np.nonzero(coverage)
    side = int(max(np.ptp(rows), np.ptp(columns))) + 1 + 2 * RIM
    top, left = int(rows.min()) - RIM, int(columns.min()) - RIM
    padded = np.pad(coverage, ((RIM, side), (RIM, side)))
    return padded[top + RIM :, left + RIM :][:side, :side], top, left


def _overlap(coverage: Float[np.ndarray, "y x"], mask: Image.Image) -> float:
    drawn = np.asarray(mask) / 255.0
    return float(np.minimum(drawn, coverage).sum() / np.maximum(drawn, coverage).sum())


def _core_colour(pixels: Float[np.ndarray, "m 3"], tone: Float[np.ndarray, "3"]) -> np.ndarray:
    """Take the median of the half that is least like the background: the rest may be blurred."""
    distance = np.linalg.norm(pixels - tone, axis=-1)
    return np.median(pixels[distance >= np.median(distance)], axis=0)


def _nearest_colour(rgb: Float[np.ndarray, "3"]) -> Colour:
    return min(COLOUR_RGB, key=lambda name: float(np.sum((rgb - np.array(COLOUR_RGB[name])) ** 2)))


@lru_cache(maxsize=len(SHAPES))
def _moments(shape: Shape) -> tuple[float, np.ndarray]:
    """Area and centre of mass (x, y) of a shape of radius one: the polygon formulas."""
    here = outline(shape)
    there = np.roll(here, -1, axis=0)
    cross = here[:, 0] * there[:, 1] - there[:, 0] * here[:, 1]
    area = cross.sum() / 2
    return abs(float(area)), ((here + there) * cross[:, None]).sum(axis=0) / (6 * area)


def _centre_of_mass(weights: Float[np.ndarray, "y x"]) -> Float[np.ndarray, "2"]:
    rows, columns = np.indices(weights.shape)
    return np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum()


def _core(group: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Drop the outermost pixels of a group, unless nothing would be left."""
    inner = group & ~_dilate(~group)
    return inner if inner.any() else group


def _dilate(mask: Bool[np.ndarray, "y x"]) -> Bool[np.ndarray, "y x"]:
    """Add the four neighbours of every True pixel."""
    grown = mask.copy()
    grown[1:] |= mask[:-1]
    grown[:-1] |= mask[1:]
    grown[:, 1:] |= mask[:, :-1]
    grown[:, :-1] |= mask[:, 1:]
    return grown


def _label(mask: Bool[np.ndarray, "y x"]) -> Int[np.ndarray, "y x"]:
    """Give every True pixel the least index in its group of side-by-side neighbours."""
    outside = mask.size
    labels = np.where(mask, np.arange(mask.size).reshape(mask.shape), outside)
    while True:
        least = labels.copy()
        np.minimum(least[1:], labels[:-1], out=least[1:])
        np.minimum(least[:-1], labels[1:], out=least[:-1])
        np.minimum(least[:, 1:], labels[:, :-1], out=least[:, 1:])
        np.minimum(least[:, :-1], labels[:, 1:], out=least[:, :-1])
        least[~mask] = outside
        if np.array_equal(least, labels):
            return labels
        labels = least
