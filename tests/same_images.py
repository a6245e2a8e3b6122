"""How far two images are apart."""

import numpy as np
from PIL import Image


def levels(a: Image.Image, b: Image.Image) -> np.ndarray:
    """Difference of every channel of every pixel."""
    return np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int))


def difference(a: Image.Image, b: Image.Image) -> int:
    """Largest difference of any channel of any pixel, in levels."""
    return int(levels(a, b).max())
