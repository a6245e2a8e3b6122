"""Images from outside, made safe: any file a person has becomes an upright RGB image.

`open_image` gives an RGB image, turned the way its EXIF says, see-through parts on white,
more than 8 bits scaled to 8 bits, the first frame of an animation. What cannot be read, or
would eat the memory, is refused in one line (ImageError). What the bytes are decides, not the
file's name. Nothing here knows the model, and no torch is loaded.

Vector formats (EPS, WMF) are not read on purpose: Pillow hands them to outside programs.
"""

import base64
import binascii
import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable
from urllib.parse import unquote, unquote_to_bytes, urlsplit

import numpy as np
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from janusflow.config.errors import ImageError, PromptError


@runtime_checkable
class ArrayLike(Protocol):
    """A numpy array or a torch tensor."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray: ...


ImageInput: TypeAlias = str | Path | bytes | io.IOBase | Image.Image | ArrayLike
"""A file's path, a data: URI, a file's bytes, an open file, an image, or an array of its pixels."""

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

MAX_PNG_TEXT = 1 << 26
"""Bytes of packed text that a PNG may hold; Pillow itself refuses the file above a 64th of this."""
BASE64_IMAGE = re.compile(r"(iVBORw0KGgo|/9j/|R0lGOD|UklGR|SUkqA|TU0AK|AAAA.GZ0eX)[\w+/=\s-]{16,}")
"""How the base64 of a PNG, JPEG, GIF, WEBP, TIFF or AVIF file begins."""
NOT_IMAGES = (
    (b"version https://git-lfs", "a git-lfs pointer: run `git lfs pull` to get the image"),
    (b"<!doctype html", "a web page (HTML): the download went wrong, get the image again"),
    (b"<html", "a web page (HTML): the download went wrong, get the image again"),
)
"""How files begin that often lie where an image should."""


class Opening(NamedTuple):
    """How an image is opened: see `open_image`."""

    max_pixels: int
    alpha: bool


# warnings.catch_warnings swaps a global and is not safe in threads, which servers have.
_quiet_lock = threading.Lock()


def open_image(
    source: ImageInput,
    *,
    max_pixels: int = MAX_PIXELS,
    channels_first: bool | None = None,
    alpha: bool = False,
) -> Image.Image:
    """An upright RGB image from any kind of input; the source is unchanged.

    Args:
        source: see `ImageInput`.
        max_pixels: more are refused.
        channels_first: whether an array's channels are its first axis; None looks which axis is 1,
            3 or 4 long, the first one before the last.
        alpha: True gives RGBA if parts may be see-through, instead of laying them on white.
    """
    how = Opening(max_pixels, alpha)
    with _quietly():
        if isinstance(source, Image.Image):
            return _opened(source, "the image given", how)
        if isinstance(source, ArrayLike):
            image = _from_array(source, channels_first=channels_first)
            return _opened(image, "the array given", how)
        return _decode(*_read(source), how)


def image_from_url(url: str, *, allow_paths: bool = True) -> ImageInput:
    """The image that a data: URI, base64, a file: URI or a path stands for.

    Raises:
        PromptError: it is a web address, or a path where these are not allowed.
    """
    if (data := _embedded(url)) is not None:
        return data
    if url.lower().startswith(("http://", "https://")):
        raise PromptError(
            f"image {_shown(url)} is on the web and is not fetched: download it, then give its "
            "path or a data: URI"
        )
    if not allow_paths:
        raise PromptError(f"image {_shown(url)} is a file path: send the image as a data: URI")
    is_uri = url.lower().startswith("file://")
    return Path(unquote(urlsplit(url).path)) if is_uri else Path(url)


@contextmanager
def _quietly() -> Iterator[None]:
    """One decoder at a time, without Pillow's warnings: what matters of them is an error here."""
    with _quiet_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        limit, PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_CHUNK, MAX_PNG_TEXT
        try:
            yield
        finally:
            PngImagePlugin.MAX_TEXT_CHUNK = limit


def _read(source: Any) -> tuple[bytes, str]:
    """The bytes of a path, an open file or embedded data, and what to call it in an error."""
    if isinstance(source, str) and (data := _embedded(source)) is not None:
        source = data
    if isinstance(source, str | Path):
        return read_image_file(source), _shown(str(source))
    if callable(read := getattr(source, "read", None)):
        try:
            source = read()
        except (OSError, ValueError) as error:
            raise ImageError(f"the file given cannot be read ({_one_line(error)})") from None
    if not isinstance(source, bytes | bytearray | memoryview):
        raise ImageError(
            f"got a {type(source).__name__} as image: give a path, a file's bytes or a "
            "PIL.Image.Image"
        )
    return bytes(source), f"the image given ({len(source)} bytes)"


def _embedded(text: str) -> bytes | None:
    """The bytes of a data: URI or of an image's base64; None if the text is neither."""
    header, payload = "", text
    if text[:5].lower() == "data:":
        header, comma, payload = text.partition(",")
        if not comma:
            raise ImageError(f"image {_shown(text)} has no comma: write data:image/png;base64,...")
        if not header.lower().endswith(";base64"):
            return unquote_to_bytes(payload)
    elif not BASE64_IMAGE.fullmatch(text):
        return None
    letters = "".join(unquote(payload).split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(
            f"image {_shown(text)} is not valid base64 ({error}): encode it anew"
        ) from None


def read_image_file(source: str | Path) -> bytes:
    """An image file's bytes, whatever they are."""
    path, name = Path(source).expanduser(), _shown(str(source))
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


def _from_array(source: ArrayLike, *, channels_first: bool | None) -> Image.Image:
    """An array of rows and columns, with 1, 3 or 4 channels first or last, as an image."""
    detach = getattr(source, "detach", None)  # a tensor's
    values = np.asarray(source if detach is None else detach().cpu())
    if values.ndim == 3:
        if channels_first is None:
            channels_first = values.shape[0] in (1, 3, 4)
        values = np.moveaxis(values, 0, -1) if channels_first else values
        values = values[..., 0] if values.shape[-1] == 1 else values
    is_image = values.ndim == 2 or (values.ndim == 3 and values.shape[-1] in (3, 4))
    if not is_image or values.dtype.kind not in "buif":
        raise ImageError(
            f"got an array of shape {values.shape} and type {values.dtype} as image: give rows and "
            "columns of numbers, with 1, 3 or 4 channels first or last"
        )
    if values.dtype != np.uint8:
        is_float = values.dtype.kind == "f"
        values = values.astype(np.float64) * (255 if values.dtype.kind == "b" else 1)
        values = _levels(*_range_of(values, is_float=is_float))
    return Image.fromarray(np.ascontiguousarray(values))


def _decode(data: bytes, name: str, how: Opening) -> Image.Image:
    if not data:
        raise ImageError(f"{name} is empty: give an image file")
    Image.init()
    formats = [known for known in READABLE_FORMATS if known in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            return _opened(image, name, how)
    except Image.UnidentifiedImageError:
        begin = data[:256].lstrip().lower()
        known = [what for start, what in NOT_IMAGES if begin.startswith(start)]
        if known:
            raise ImageError(f"{name} is not an image but {known[0]}") from None
        raise ImageError(
            f"{name} is not an image or its header is broken: give one of {', '.join(formats)}"
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is refused as too large: {_one_line(error)}") from None
    except DECODER_ERRORS as error:
        raise _broken(name, error) from None


def _opened(image: Image.Image, name: str, how: Opening) -> Image.Image:
    _check_size(image, name=name, max_pixels=how.max_pixels)
    try:
        image.load()
        _check_size(image, name=name, max_pixels=how.max_pixels)  # some formats learn it on loading
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is refused as too large: {_one_line(error)}") from None
    except DECODER_ERRORS as error:
        raise _broken(name, error) from None
    try:
        upright = _upright(image)
        keeps_alpha = how.alpha and image.has_transparency_data
        rgb = upright.convert("RGBA") if keeps_alpha else _flattened(upright, kind=image.format)
    except (ValueError, OSError, MemoryError) as error:
        raise _broken(name, error) from None
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


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF says; broken EXIF says nothing about the pixels."""
    try:
        return ImageOps.exif_transpose(image)
    except DECODER_ERRORS:
        return image


def _flattened(image: Image.Image, *, kind: str | None) -> Image.Image:
    """The same pixels in RGB: high bit depths scaled, see-through parts on white."""
    if image.mode.startswith("I;16"):
        # Pillow cannot convert every byte order to numpy, but all of them to "I".
        wide = np.asarray(image.convert("I") if image.mode != "I;16" else image, dtype=np.float64)
        return _grey(wide, low=0.0, high=SIXTEEN_BIT_MAX)
    if image.mode == "I" and kind in ("PPM", "PNG"):  # Pillow reads their 16 bits so
        return _grey(np.asarray(image, dtype=np.float64), low=0.0, high=SIXTEEN_BIT_MAX)
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
    return Image.fromarray(_levels(values, low, high)).convert("RGB")


def _levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scale = EIGHT_BIT_MAX / (high - low) if high > low else 0.0
    return np.clip(np.rint((values - low) * scale), 0, EIGHT_BIT_MAX).astype(np.uint8)


def _shown(text: str) -> str:
    """A text in quotes, its middle left out if it is long: a path keeps its name."""
    return repr(text if len(text) <= 200 else f"{text[:80]}...{text[-80:]}")


def _broken(name: str, error: BaseException) -> ImageError:
    return ImageError(
        f"{name} is damaged or cut short ({_one_line(error)}): get the file again or save it anew"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
