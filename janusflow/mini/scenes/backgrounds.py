"""Read a scene's background back from pixels alone; nothing here is learned.

Every background that can be is rendered, and the one whose pixels differ least from the image's,
where no object is near, is named. Like the detector it looks at 64 x 64 pixels, and tolerates blur
and noise; an image that has no background of these still gets the nearest.
"""

from functools import cache
from itertools import permutations

import numpy as np
from jaxtyping import Float
from PIL import Image

from janusflow.mini.scenes.detector import GRID, is_inked, is_outside, on_grid
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import (
    BACKGROUND_KINDS,
    TONES,
    Background,
    BackgroundKind,
    Scene,
    Tone,
)

PATTERNS: tuple[BackgroundKind, ...] = tuple(kind for kind in BACKGROUND_KINDS if kind != "plain")
PAIRS: tuple[tuple[Tone, Tone], ...] = tuple(permutations(TONES, 2))
BACKGROUNDS: tuple[Background, ...] = (
    *(Background(kind="plain", tones=(tone,)) for tone in TONES),
    *(Background(kind=kind, tones=tones) for kind in PATTERNS for tones in PAIRS),
)
"""All 85: five tones, and four patterns of two of them in order."""


def read_background(image: Image.Image) -> Background | None:
    """Name the background of a square image; None where objects leave nothing of it to be seen.

    Raises:
        ImageError: the image is not square, or smaller than 32 pixels a side.
    """
    pixels = on_grid(image)
    outside = is_outside(is_inked(pixels))
    if not outside.any():
        return None
    # The sum of (render - pixel)^2 over what is outside, less the pixels' own squares.
    renders, squares = _renders()
    differences = squares @ outside.ravel() - 2 * renders @ (pixels * outside[..., None]).ravel()
    return BACKGROUNDS[int(differences.argmin())]


@cache
def _renders() -> tuple[Float[np.ndarray, "85 12288"], Float[np.ndarray, "85 4096"]]:
    """Every background's values, and the sum of squares of each pixel."""
    scenes = (Scene(objects=(), background=background) for background in BACKGROUNDS)
    renders = np.stack([np.asarray(render(scene, size=GRID), float) for scene in scenes])
    return renders.reshape(len(renders), -1), (renders**2).sum(-1).reshape(len(renders), -1)
