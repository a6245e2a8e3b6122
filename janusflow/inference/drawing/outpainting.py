"""More around an image: it is laid on a larger canvas, and what is outside it is drawn.

A model draws one size, so the larger image comes out at that size, the given one smaller in it.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.processing.images import ImageInput, open_image

BLACK, WHITE = 0, 255
OUTPAINTING_STRENGTH = 0.85
"""Unless given: from noise alone, or nearly, margins get a background of their own."""


class Margins(NamedTuple):
    """Pixels of the given image's size that are added at each side."""

    left: int
    top: int
    right: int
    bottom: int


class Extended(NamedTuple):
    """What `JanusFlow.generate` starts from."""

    init_image: Image.Image
    """The image, its outermost pixels drawn out over the margins."""
    mask: Image.Image
    """White on the margins."""


def read_margins(text: str) -> Margins:
    """Margins from words such as `0,20,0,20`: left, top, right, bottom.

    Raises:
        ConfigError: they are not four whole numbers.
    """
    try:
        return Margins(*(int(word) for word in text.split(",")))
    except (ValueError, TypeError):
        raise ConfigError(
            f"outpaint={text}: wanted four whole numbers, left,top,right,bottom, such as 0,20,0,20."
        ) from None


def extended(image: ImageInput, margins: Margins) -> Extended:
    """Lay an image on a larger, square canvas.

    Raises:
        ConfigError: nothing is added, something is taken away, or the canvas is not square.
    """
    image = open_image(image)
    shown = ",".join(map(str, margins))
    if min(margins) < 0 or max(margins) == 0:
        raise ConfigError(
            f"outpaint={shown}: wanted pixels to add at the left, top, right and bottom, none "
            "below 0 and one above."
        )
    width = image.width + margins.left + margins.right
    height = image.height + margins.top + margins.bottom
    if width != height:
        where = "left or right" if width < height else "top or bottom"
        raise ConfigError(
            f"outpaint={shown} around {image.width}x{image.height} pixels makes {width}x{height}, "
            f"but squares are drawn: add {abs(width - height)} more at the {where}."
        )
    # Drawn out, not filled: latents at the image's border then look on as they were.
    rows, columns = (margins.top, margins.bottom), (margins.left, margins.right)
    canvas = np.pad(np.asarray(image), (rows, columns, (0, 0)), mode="edge")
    mask = Image.new("L", (width, height), WHITE)
    mask.paste(BLACK, (margins.left, margins.top, width - margins.right, height - margins.bottom))
    return Extended(init_image=Image.fromarray(canvas), mask=mask)
