"""Squares cut out of images to draw."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from data_files import PREPARE
from PIL import Image
from torch import Tensor

from janusflow.data.prepare import Preparation

WIDTH, HEIGHT = 48, 16  # as high as what is drawn: nothing is scaled


def pixels(prepare: Preparation, number: int) -> Tensor:
    found = prepare.crop(gradient(), number).pixel_values
    assert found is not None
    return found


def gradient() -> Image.Image:
    """Red grows from column to column, a level each."""
    levels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    levels[..., 0] = np.arange(WIDTH)
    return Image.fromarray(levels)


@pytest.mark.parametrize(("crops", "begins"), [(1, [16]), (2, [0, 32]), (3, [0, 16, 32])])
def test_squares_are_spread_evenly_along_the_longer_side(crops: int, begins: list[int]):
    prepare = replace(PREPARE, crops=crops)
    firsts = [pixels(prepare, number)[0, 0, 0] for number in range(crops)]
    assert [round(float((first + 1) / 2 * 255)) for first in firsts] == begins


def test_a_draw_is_one_of_the_squares_and_each_comes_up():
    prepare = replace(PREPARE, crops=3)
    squares = [pixels(prepare, number) for number in range(3)]
    rng, found = np.random.default_rng(0), set()
    for _ in range(30):
        drawn = prepare.for_generation(gradient(), rng).pixel_values
        assert drawn is not None
        (which,) = (n for n, square in enumerate(squares) if torch.equal(square, drawn))
        found.add(which)
    assert found == {0, 1, 2}


def test_a_square_image_has_one_square():
    prepare = replace(PREPARE, crops=2)
    square = Image.new("RGB", (50, 50), "red")
    one, other = (prepare.crop(square, number).pixel_values for number in range(2))
    assert one is not None
    assert other is not None
    assert torch.equal(one, other)
