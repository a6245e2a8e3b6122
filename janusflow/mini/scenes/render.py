"""Draw a scene: RGB, anti-aliased, any size, the same pixels every time.

A shape is one closed polygon in units of its radius (y down); holes are cut by a seam, which
an even-odd fill leaves open. Everything is drawn at four times the size and averaged down.
"""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from janusflow.mini.scenes.scene import Background, Colour, Scene, Shape, Tone

OVERSAMPLING = 4

COLOUR_RGB: dict[Colour, tuple[int, int, int]] = {
    "red": (222, 28, 36),
    "orange": (255, 138, 0),
    "yellow": (252, 222, 20),
    "green": (32, 152, 58),
    "cyan": (0, 196, 216),
    "blue": (28, 66, 222),
    "purple": (134, 40, 176),
    "pink": (255, 118, 186),
    "brown": (128, 74, 34),
    "black": (22, 22, 24),
}
TONE_RGB: dict[Tone, tuple[int, int, int]] = {
    "white": (255, 255, 255),
    "light grey": (226, 226, 226),
    "cream": (255, 246, 219),
    "pale blue": (212, 228, 250),
    "pale green": (214, 240, 214),
}
PATTERN_PERIOD = 1 / 8
"""Width of one repetition of a pattern, as a fraction of the image."""


def render(scene: Scene, *, size: int = 64) -> Image.Image:
    """Draw the scene as an RGB image of size x size pixels."""
    image = _background(scene.background, size).copy()
    for thing in scene.objects:
        mask = draw_shape(thing.shape, x=thing.x, y=thing.y, radius=thing.radius, size=size)
        image.paste(COLOUR_RGB[thing.colour], mask=mask)
    return image


def draw_shape(shape: Shape, *, x: float, y: float, radius: float, size: int) -> Image.Image:
    """Draw how much of each pixel a shape covers (mode L); lengths are fractions of the width."""
    canvas = size * OVERSAMPLING
    mask = Image.new("L", (canvas, canvas))
    # Pillow's integer coordinates are pixel centres, hence the half.
    points = (outline(shape) * radius + (x, y)) * canvas - 0.5
    ImageDraw.Draw(mask).polygon([tuple(point) for point in points.tolist()], fill=255)
    return mask.reduce(OVERSAMPLING)


@lru_cache(maxsize=len(COLOUR_RGB))
def outline(shape: Shape) -> np.ndarray:
    """Give the corners of a shape of radius one around the origin, [corner, (x, y)], y down."""
    match shape:
        case "circle":
            return _arc(radius=1.0)
        case "square":
            return np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.79
        case "triangle":
            return np.array([[0.0, -1.05], [0.97, 0.55], [-0.97, 0.55]])
        case "star":
            return _star(outer=1.09, inner=0.47) + np.array([0.0, 0.03])
        case "heart":
            return _heart()
        case "diamond":
            return np.array([[0.0, -1.1], [0.68, 0.0], [0.0, 1.1], [-0.68, 0.0]])
        case "cross":
            return _cross(arm=1.02, half_width=0.32)
        case "ring":
            return np.concatenate([_arc(radius=1.02), _arc(radius=0.56)[::-1]])
        case "crescent":
            return _crescent(radius=1.04, inner=0.86, offset=0.5)


def _arc(*, radius: float, start: float = 0.0, stop: float = 2 * np.pi) -> np.ndarray:
    angles = np.linspace(start, stop, 97)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _star(*, outer: float, inner: float) -> np.ndarray:
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, outer, inner)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _heart() -> np.ndarray:
    """The classic curve (16 sin^3, 13 cos - ...), scaled to about radius one."""
    t = np.linspace(0.0, 2 * np.pi, 97)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x / 16, -(y + 2.5) / 15.5], axis=-1) * 0.97


def _cross(*, arm: float, half_width: float) -> np.ndarray:
    quarter = np.array([[half_width, -arm], [half_width, -half_width], [arm, -half_width]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _crescent(*, radius: float, inner: float, offset: float) -> np.ndarray:
    """A disc less a smaller disc moved right: open to the right, like the letter C."""
    meet_x = (radius**2 - inner**2 + offset**2) / (2 * offset)
    outer_angle = np.arccos(meet_x / radius)
    inner_angle = np.arccos((meet_x - offset) / inner)
    outer = _arc(radius=radius, start=outer_angle, stop=2 * np.pi - outer_angle)
    hollow = _arc(radius=inner, start=2 * np.pi - inner_angle, stop=inner_angle)
    return np.concatenate([outer, hollow + np.array([offset, 0.0])]) + np.array([0.12, 0.0])


@lru_cache(maxsize=256)
def _background(background: Background, size: int) -> Image.Image:
    weight = _pattern(background.kind, size * OVERSAMPLING)[..., None]
    first, second = (np.array(TONE_RGB[tone]) for tone in (background.tones * 2)[:2])
    pixels = (1.0 - weight) * first + weight * second
    return Image.fromarray(np.round(pixels).astype(np.uint8)).reduce(OVERSAMPLING)


def _pattern(kind: str, size: int) -> np.ndarray:
    """Give the second tone's weight in each pixel, [row, column]."""
    steps = (np.arange(size) + 0.5) / size
    x, y = steps[None, :] + 0 * steps[:, None], steps[:, None] + 0 * steps[None, :]
    column, row = x / PATTERN_PERIOD, y / PATTERN_PERIOD
    match kind:
        case "stripes":
            return ((column + row) % 1.0 < 0.5).astype(float)
        case "dots":
            return (((column % 1.0) - 0.5) ** 2 + ((row % 1.0) - 0.5) ** 2 < 0.3**2).astype(float)
        case "checks":
            return (column.astype(int) + row.astype(int)) % 2.0
        case "gradient":
            return y
        case _:
            return np.zeros((size, size))
