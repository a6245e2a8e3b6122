"""Inputs that both sides make for themselves, the same from the same seed."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

PICTURE_SIZE = (500, 400)
TIME = 0.5
"""At which a velocity is evaluated."""


def noise(shape_of_one: tuple[int, ...], *, batch: int, seed: int) -> Tensor:
    """Standard normal [b, ...], picture i from seed + i; float32 on the CPU."""
    draws = [
        torch.randn(shape_of_one, generator=torch.Generator().manual_seed(seed + i))
        for i in range(batch)
    ]
    return torch.stack(draws)


def pictures(number: int, *, seed: int) -> list[Image.Image]:
    """RGB pictures to ask about: gradients under noise, no two alike."""
    width, height = PICTURE_SIZE
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 128, width)[None, :, None] + np.linspace(0, 64, height)[:, None, None]
    return [
        Image.fromarray((slope + rng.integers(0, 64, (height, width, 3))).astype(np.uint8))
        for _ in range(number)
    ]
