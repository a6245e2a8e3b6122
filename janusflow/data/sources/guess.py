"""Which format a file of training data is in, told by its rows."""

from collections.abc import Collection, Mapping
from typing import Any

from janusflow.config.errors import DataError
from janusflow.data.batches.mixture import Kind
from janusflow.data.sources.adapters import (
    CAPTION_COLUMNS,
    FILM_COLUMNS,
    IMAGE_COLUMNS,
    SHOWN_NAMES,
    TEXT_COLUMNS,
)
from janusflow.data.sources.formats import LAYOUTS, MakeSample
from janusflow.data.sources.tables import open_table, read_object


def guess_format(path: str, *, streaming: bool = False) -> tuple[str, list[str]]:
    """The format of a file by the names its first row has, and these names.

    Args:
        path: the file, a pattern, a folder or a data set of the hub.
        streaming: read that row alone.

    Raises:
        DataError: it cannot be told, or the file cannot be read.
    """
    content = read_object(path)
    names = [*map(str, open_table(path, streaming=streaming)[0] if content is None else content)]
    films = [name for name in names if name.lower() in FILM_COLUMNS]
    found = _format_of_object(content or {}) or _format_of_row({name.lower() for name in names})
    if found is None:
        shown = ", ".join(f"{name:.40}" for name in names[:SHOWN_NAMES]) or "nothing"
        raise DataError(
            f"cannot tell the format of {path}, which has {shown}: say --format, one of "
            f"{', '.join(LAYOUTS)}."
        )
    if films and found != "chat":
        raise DataError(
            f"{path} has {films[0]}: films are learnt from conversations about them alone (format "
            "chat: `conversations` or `messages` beside it)."
        )
    return found, names


def kinds_of(format_name: str) -> list[Kind]:
    """One kind for every way a format's rows are read: captions are asked for and drawn from."""
    kinds: dict[MakeSample, Kind] = {}
    for kind, make in LAYOUTS[format_name].samples.items():
        kinds.setdefault(make, kind)
    return list(kinds.values())


def _format_of_row(names: Collection[str]) -> str | None:
    """The format that names in small letters speak for; the plainest columns win."""
    has_image = any(name in names for name in IMAGE_COLUMNS)
    has_caption = any(name in names for name in CAPTION_COLUMNS if name != "prompt")
    if "conversations" in names or "messages" in names:
        return "chat"
    if "question" in names and has_image and ("answer" in names or "answers" in names):
        return "vqa"
    if "img_path" in names and ("task2" in names or ("prompt" in names and not has_caption)):
        return "journeydb"
    if has_image and (has_caption or "prompt" in names):
        return "captions"
    if {"image_id", "caption"} <= set(names):
        return "localized-narratives"
    return "text" if any(name in names for name in TEXT_COLUMNS) else None


def _format_of_object(content: Mapping[str, Any]) -> str | None:
    """A .json file that holds no list of rows."""
    if "annotations" in content and "images" in content:
        return "coco-captions"
    if "questions" in content:
        return "vqav2"
    first = next(iter(content.values()), None)
    return "gqa" if isinstance(first, Mapping) and "imageId" in first else None
