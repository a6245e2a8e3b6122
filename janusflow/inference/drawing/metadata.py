"""How an image was drawn, kept inside its PNG file as text chunks that any program can read."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from janusflow.config.errors import ConfigError, ImageError
from janusflow.config.files import replace_bytes
from janusflow.config.guidance import read_guidance
from janusflow.processing.image_files import open_image

IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What a drawn image can be saved as; only PNG keeps the record."""

READERS: dict[str, Callable[[str], int | float | str]] = {
    "seed": int,
    "steps": int,
    "guidance": read_guidance,
    "shift": float,
    "strength": float,
    "guidance_rescale": float,
    "reuse": float,
}
"""The fields that are no plain text."""


@dataclass(frozen=True, kw_only=True)
class DrawingRecord:
    """All that is needed to draw an image again."""

    prompt: str
    negative_prompt: str | None = None
    seed: int
    steps: int
    guidance: float | str
    solver: str
    shift: float
    numerics: str
    plan: str | None = None
    """What was drawn instead of the prompt."""
    strength: float | None = None
    """None for an image drawn from noise alone."""
    model: str
    version: str
    """Of this package."""
    grid: str = "uniform"
    guidance_rescale: float = 0.0
    reuse: float = 0.0
    upscale: str | None = None
    """How it was made larger afterwards, several times in order."""

    def attach(self, image: Image.Image) -> Image.Image:
        """Put the record on the image, where `save_image` and `image.info` find it."""
        image.info.update(asdict(self))
        return image


def record_of(image: Image.Image) -> DrawingRecord | None:
    """Read the record of a drawn image, fresh or opened from a file; None if it has none."""
    info = {field.name: image.info.get(field.name) for field in fields(DrawingRecord)}
    # What has a default may be missing: images of older versions lack newer settings.
    if any(info[each.name] is None for each in fields(DrawingRecord) if each.default is MISSING):
        return None
    # Chunks are text; a record put on a fresh image has its own types already.
    try:
        values: dict[str, Any] = {
            name: READERS.get(name, str)(value) for name, value in info.items() if value is not None
        }
        return DrawingRecord(**values)
    except (ValueError, ConfigError) as error:
        raise ImageError(
            f"the image's drawing record is damaged ({error}): another program changed its text "
            "chunks. Draw it anew, or remove the chunks."
        ) from error


def read_record(path: Path) -> DrawingRecord | None:
    """Read the record in an image file; None if it has none."""
    # Refuses what is broken or hostile, in one line; the record is read from its header alone.
    open_image(path)
    with Image.open(path) as image:
        return record_of(image)


def save_image(image: Image.Image, path: Path) -> None:
    """Write an image in the format its extension names, with its record if that is PNG."""
    check_image_path(path)
    kind = IMAGE_FORMATS[path.suffix.lower()]
    options: dict[str, Any] = {"pnginfo": _chunks(image)} if kind == "PNG" else {"quality": 95}
    _write(image, path, format=kind, **options)


def save_animation(images: Sequence[Image.Image], path: Path, *, milliseconds: int) -> None:
    """Write images as one GIF that repeats, each shown so long."""
    first, *others = images
    _write(
        first,
        path,
        format="GIF",
        append_images=others,
        save_all=True,
        duration=milliseconds,
        loop=0,
    )


def _write(image: Image.Image, path: Path, **options: Any) -> None:
    """All of a file or nothing."""
    content = BytesIO()
    image.save(content, **options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, content.getvalue())
    except OSError as error:
        raise ImageError(
            f"{path} cannot be written ({error.strerror or error}): choose another place."
        ) from error


def _chunks(image: Image.Image) -> PngInfo:
    chunks = PngInfo()
    record = record_of(image)
    for name, value in (asdict(record) if record else {}).items():
        if value is not None:
            # The international kind of chunk: the plain one knows Latin-1 only.
            chunks.add_itxt(name, str(value))
    return chunks


def check_image_path(path: Path) -> None:
    """Refuse an extension that no image format has."""
    if path.suffix.lower() not in IMAGE_FORMATS:
        raise ImageError(
            f"{path}: {path.suffix or 'no extension'!r} is no image format. "
            f"Use one of: {', '.join(IMAGE_FORMATS)}."
        )
