"""How an image was drawn, kept inside its PNG file as text chunks that any program can read.

One chunk a field; beside them `parameters`, the text that other programs for drawing look for.
"""

import json
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
PARAMETERS = "parameters"
"""The chunk of AUTOMATIC1111's web UI, which many programs read."""


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
    init_image: str | None = None
    """SHA-256 of the RGB pixels of the image that it was started from; they are not in here."""
    mask: str | None = None
    """Likewise of the mask."""
    invert: str | None = None
    """What the image that it was started from was said to show, if that was inverted."""
    device: str | None = None
    dtype: str | None = None
    """Where and in what precision the model ran: other rounding gives slightly other pixels."""
    adapters: str | None = None
    """Names, weights and digests of those that were on (tuning/files.py)."""

    def attach(self, image: Image.Image) -> "DrawnImage":
        """The image with the record, where `save`, `save_image` and `image.info` find it."""
        drawn = DrawnImage()
        drawn.__dict__.update(image.__dict__)
        drawn.info = {**image.info, **asdict(self)}
        return drawn

    def parameters(self, size: tuple[int, int]) -> str:
        """The record as other programs write theirs: prompts, then settings by their names."""
        settings = {
            "Steps": self.steps,
            "Sampler": self.solver.capitalize(),
            "CFG scale": self.guidance,
            "Seed": self.seed,
            "Size": f"{size[0]}x{size[1]}",
            "Model": self.model,
            "Adapters": self.adapters,
            "Denoising strength": self.strength,
            "Version": f"janusflow {self.version}",
        }
        lines = [self.prompt]
        if self.negative_prompt is not None:
            lines.append(f"Negative prompt: {self.negative_prompt}")
        words = (f"{name}: {_quoted(v)}" for name, v in settings.items() if v is not None)
        return "\n".join([*lines, ", ".join(words)])


class DrawnImage(Image.Image):
    """An image that knows how it was drawn, and says so in every PNG file it is saved as."""

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Write the image as Pillow does; a PNG file gets the record unless `pnginfo` is given."""
        params.setdefault("pnginfo", _chunks(self))  # other formats take no notice of it
        super().save(fp, format, **params)

    def copy(self) -> "DrawnImage":
        """A copy that can be changed, with the record."""
        copy = DrawnImage()
        copy.__dict__.update(super().copy().__dict__)
        return copy

    __copy__ = copy


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
    if record is None:
        return chunks
    chunks.add_text(PARAMETERS, record.parameters(image.size))
    for name, value in asdict(record).items():
        if value is not None:
            # The international kind of chunk: the plain one knows Latin-1 only.
            chunks.add_itxt(name, str(value))
    return chunks


def _quoted(value: object) -> str:
    """Quoted where it would end early for a reader that splits at commas."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',:\n"') else text


def check_image_path(path: Path) -> None:
    """Refuse an extension that no image format has."""
    if path.suffix.lower() not in IMAGE_FORMATS:
        raise ImageError(
            f"{path}: {path.suffix or 'no extension'!r} is no image format. "
            f"Use one of: {', '.join(IMAGE_FORMATS)}."
        )
