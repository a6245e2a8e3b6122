"""Images from outside, made safe: any file a person has becomes an upright RGB image.

`open_image` gives an RGB image, turned the way its EXIF says, see-through parts on white,
more than 8 bits scaled to 8 bits, the first frame of an animation. What cannot be read, or
would eat the memory, is refused in one line (ImageError). What the bytes are decides, not the
file's name. Nothing here knows the model, and no torch is loaded.

Vector formats (EPS, WMF) are not read on purpose: Pillow hands them to outside programs.
"""

import binascii
import io
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import ExifTags, Image, ImageCms

from janusflow.config.errors import ImageError

ImageInput: TypeAlias = str | Path | bytes | Image.Image
"""A file's path, a file's bytes, or an image already open."""

MAX_PIXELS = 178_956_970
"""Twice Pillow's own warning threshold, where Pillow itself gives up (half a gigabyte as RGB)."""

READABLE_FORMATS = (
    *("PNG", "JPEG", "MPO", "WEBP", "GIF", "AVIF", "BMP", "DIB"),
    *("TIFF", "JPEG2000", "PPM", "ICO"),
)

# Pillow's decoders were written by many hands: on broken bytes they raise any of these.
DECODER_ERRORS = (
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, binascii.Error),
    *(IndexError, KeyError, TypeError, AttributeError, ArithmeticError, AssertionError),
    *(RuntimeError, MemoryError, Image.DecompressionBombError),
)

EIGHT_BIT_MAX = 255.0
SIXTEEN_BIT_MAX = 65535.0
WHITE = (255, 255, 255, 255)

UPRIGHT: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what undoes it."""

# warnings.catch_warnings swaps a global and is not safe in threads, which servers have.
_quiet_lock = threading.Lock()


def open_image(source: ImageInput, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An upright RGB image from a path, a file's bytes or an image; the source is unchanged."""
    with _quietly():
        if isinstance(source, Image.Image):
            return _as_rgb(source, name="the image given", max_pixels=max_pixels)
        if isinstance(source, bytes | bytearray | memoryview):
            data = bytes(source)
            name = f"the image given ({len(data)} bytes)"
        elif isinstance(source, str | Path):
            name = repr(str(source))
            data = read_image_file(source)
        else:
            raise ImageError(
                f"got a {type(source).__name__} as image: give a path, a file's bytes or a "
                "PIL.Image.Image"
            )
        return _decode(data, name=name, max_pixels=max_pixels)


@contextmanager
def _quietly() -> Iterator[None]:
    """One decoder at a time, without Pillow's warnings: what matters of them is an error here."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_image_file(source: str | Path) -> bytes:
    """An image file's bytes, whatever they are."""
    path, name = Path(source).expanduser(), repr(str(source))
    try:
        # Checked before reading: a device or pipe might never end.
        if path.is_dir():
            raise ImageError(f"{name} is a folder: give an image file inside it")
        if path.exists() and not path.is_file():
            raise ImageError(f"{name} is not an ordinary file: give an image file")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(
            f"{name} does not exist: check the path (web addresses are not fetched)"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ImageError(f"{name} cannot be read ({_one_line(error)}): check the path") from None


def _decode(data: bytes, *, name: str, max_pixels: int) -> Image.Image:
    if not data:
        raise ImageError(f"{name} is empty: give an image file")
    Image.init()
    formats = [known for known in READABLE_FORMATS if known in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            return _as_rgb(image, name=name, max_pixels=max_pixels)
    except Image.UnidentifiedImageError:
        raise ImageError(
            f"{name} is not an image or its header is broken: give one of {', '.join(formats)}"
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is refused as too large: {_one_line(error)}") from None
    except DECODER_ERRORS as error:
        raise _broken(name, error) from None


def _as_rgb(image: Image.Image, *, name: str, max_pixels: int) -> Image.Image:
    _check_size(image, name=name, max_pixels=max_pixels)
    try:
        image.load()
        _check_size(image, name=name, max_pixels=max_pixels)  # some formats learn it on loading
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is refused as too large: {_one_line(error)}") from None
    except DECODER_ERRORS as error:
        raise _broken(name, error) from None
    upright = UPRIGHT.get(_orientation(image))
    try:
        rgb = _flattened(image)
    except (ValueError, OSError, MemoryError) as error:
        raise _broken(name, error) from None
    rgb = rgb.transpose(upright) if upright is not None else rgb
    # A copy never carries the EXIF along: opening an image twice must not turn it twice.
    rgb = rgb.copy() if rgb is image else rgb
    rgb.info = {}
    return rgb


def _check_size(image: Image.Image, *, name: str, max_pixels: int) -> None:
    width, height = image.size
    if width == 0 or height == 0:
        raise ImageError(f"{name} has no pixels ({width} x {height}): give an image with some")
    if width * height > max_pixels:
        raise ImageError(
            f"{name} is refused as too large: {width} x {height} is more than {max_pixels} pixels; "
            "make it smaller first"
        )


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except DECODER_ERRORS:
        return 1  # broken EXIF says nothing about the pixels, which are fine


def _flattened(image: Image.Image) -> Image.Image:
    """The same pixels in RGB: high bit depths scaled, see-through parts on white."""
    if image.mode.startswith("I;16"):
        # Pillow cannot convert every byte order to numpy, but all of them to "I".
        wide = np.asarray(image.convert("I") if image.mode != "I;16" else image, dtype=np.float64)
        return _grey(wide, low=0.0, high=SIXTEEN_BIT_MAX)
    if image.mode in ("I", "F"):
        return _grey(*_range_of(np.asarray(image, dtype=np.float64), is_float=image.mode == "F"))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None, "only in-place conversion returns None"
        return converted
    if image.has_transparency_data or image.mode in ("RGBa", "La"):
        unmultiplied = image.convert("LA") if image.mode == "La" else image
        rgba = unmultiplied.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, WHITE), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _range_of(values: np.ndarray, *, is_float: bool) -> tuple[np.ndarray, float, float]:
    """Values with the range they were meant in, which these modes do not say.

    The smallest usual range that holds all values: 0..1 (floats only), 0..255, 0..65535; any
    other data (negative, larger) is stretched from its least to its greatest value.
    """
    finite = values[np.isfinite(values)]
    least, greatest = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    values = np.nan_to_num(values, nan=least, posinf=greatest, neginf=least)
    usual = (1.0, EIGHT_BIT_MAX, SIXTEEN_BIT_MAX) if is_float else (EIGHT_BIT_MAX, SIXTEEN_BIT_MAX)
    for high in usual:
        if least >= 0 and greatest <= high:
            return values, 0.0, high
    return values, least, greatest


def _grey(values: np.ndarray, low: float, high: float) -> Image.Image:
    scale = EIGHT_BIT_MAX / (high - low) if high > low else 0.0
    levels = np.clip(np.rint((values - low) * scale), 0, EIGHT_BIT_MAX).astype(np.uint8)
    return Image.fromarray(levels).convert("RGB")


def _broken(name: str, error: BaseException) -> ImageError:
    return ImageError(
        f"{name} is damaged or cut short ({_one_line(error)}): get the file again or save it anew"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
