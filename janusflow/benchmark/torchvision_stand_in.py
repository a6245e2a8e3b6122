"""What the authors' code and timm import of torchvision, where there is none for this torch.

Used in the authors' environment only. `resize` does what torchvision does to an open picture;
everything else is a placeholder, which they import and never call.
"""

import enum
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from PIL import Image

MODULES = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.utils",
    "torchvision.ops",
    "torchvision.ops.misc",
    "torchvision.datasets",
    "torchvision.models",
    "torchvision.models.feature_extraction",
)


class InterpolationMode(enum.Enum):
    """Names of torchvision's filters; the values are Pillow's."""

    NEAREST = Image.Resampling.NEAREST
    BOX = Image.Resampling.BOX
    BILINEAR = Image.Resampling.BILINEAR
    HAMMING = Image.Resampling.HAMMING
    BICUBIC = Image.Resampling.BICUBIC
    LANCZOS = Image.Resampling.LANCZOS


def resize(
    picture: Image.Image,
    size: Sequence[int],
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
    **_: Any,
) -> Image.Image:
    """Scale an open picture to `size`, its height first; one of this size is left as it is."""
    height, width = size
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), interpolation.value)


class _Placeholder(ModuleType):
    """A module of which any name can be imported."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def install() -> bool:
    """Stand in for torchvision; False where there is one.

    To be called after transformers and diffusers are imported: they ask for torchvision as they
    are, and do without.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return False
    for name in MODULES:
        sys.modules[name] = _Placeholder(name)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, sys.modules[name])
    functional = sys.modules["torchvision.transforms.functional"]
    functional.__dict__.update(resize=resize, InterpolationMode=InterpolationMode)
    return True
