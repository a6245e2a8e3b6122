"""More around an image: the canvas, its mask, and what is kept of the image."""

import numpy as np
import pytest
from PIL import Image, ImageChops

from janusflow.config.errors import ConfigError
from janusflow.inference.drawing.outpainting import Margins, extended, read_margins
from janusflow.inference.pipeline import JanusFlow


@pytest.fixture
def image() -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (20, 32, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def test_the_image_lies_untouched_where_the_mask_is_black(image: Image.Image):
    canvas, mask = extended(image, Margins(3, 9, 5, 11))
    assert canvas.size == mask.size == (40, 40)
    box = (3, 9, 35, 29)
    assert canvas.crop(box).tobytes() == image.tobytes()
    assert ImageChops.invert(mask).getbbox() == box
    assert mask.crop(box).getextrema() == (0, 0)
    assert np.asarray(mask).sum() == 255 * (40 * 40 - 32 * 20)


def test_the_border_is_drawn_out_over_the_margins(image: Image.Image):
    canvas, _ = extended(image, Margins(0, 4, 0, 8))
    corners = [(0, 0), (31, 0), (0, 31), (31, 31)]
    own = [(0, 0), (31, 0), (0, 19), (31, 19)]
    assert [canvas.getpixel(at) for at in corners] == [image.getpixel(at) for at in own]


def test_drawing_keeps_the_pixels_of_the_smaller_image_and_changes_the_margins(jf: JanusFlow):
    """An image of half the model's size needs no resizing, so its pixels stay as they are."""
    small = Image.effect_noise((32, 32), 80).convert("RGB")
    canvas, mask = extended(small, Margins(0, 32, 32, 0))
    (drawn,) = jf.generate("a red circle", steps=2, seed=0, init_image=canvas, mask=mask)
    assert drawn.size == (64, 64)
    assert drawn.crop((0, 32, 32, 64)).tobytes() == small.tobytes()
    for box in [(0, 0, 64, 32), (32, 32, 64, 64)]:
        assert drawn.crop(box).tobytes() != canvas.crop(box).tobytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3", "outpaint=1,2,3: wanted four whole numbers"),
        ("1,2,3,4,5", "four whole numbers"),
        ("a,b,c,d", "four whole numbers"),
        ("0,0,0,0", "outpaint=0,0,0,0: wanted pixels to add"),
        ("-2,10,2,2", "none below 0"),
        ("0,6,0,0", "32x20 pixels makes 32x26.*6 more at the top or bottom"),
        ("0,20,0,0", "32x40.*8 more at the left or right"),
    ],
)
def test_margins_that_make_no_sense_are_refused(image: Image.Image, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        extended(image, read_margins(text))
