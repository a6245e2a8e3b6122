"""A folder to learn from, as people have one: pictures, each beside a `.txt` of its name.

A picture without a `.txt` has no caption of its own; what it gets is for the caller to say. Beside
them `questions.json`, as LLaVA has it, may ask about pictures; those without a `.txt` are then only
asked about.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from janusflow.config.errors import DataError, ImageError
from janusflow.data.sources.adapters import LLAVA_TAG
from janusflow.processing.image_files import READABLE_FORMATS, open_image

MIN_PICTURES = 3
CAPTION = ".txt"
QUESTIONS = "questions.json"
SHOWN = 3
"""Names that a message lists."""
WANTED = (
    "wanted a folder of pictures (.png, .jpg, .webp, ...), each with a .txt of its name or none, "
    f"and {QUESTIONS} if there is more to ask about them"
)


class Picture(NamedTuple):
    """A file, and what its `.txt` says."""

    path: Path
    caption: str | None


class Asked(NamedTuple):
    """The first question about a picture, and its answer."""

    path: Path
    question: str
    answer: str


class PictureFolder(NamedTuple):
    """What there is to learn."""

    pictures: list[Picture]
    """To be drawn and named."""
    asked: list[Asked]
    """What `questions.json` asks, in its order."""


def read_folder(folder: Path) -> PictureFolder:
    """The pictures of a folder by name; folders inside it are not searched.

    Raises:
        DataError: there is no such folder, it holds no pictures or too few, a `.txt` is empty or
            has no picture, a picture cannot be read, or `questions.json` is no list of
            conversations about pictures of the folder.
    """
    if not folder.is_dir():
        what = "this is a file" if folder.is_file() else "there is no such folder"
        raise DataError(f"{folder}: {what}: {WANTED}.")
    files = sorted(path for path in folder.iterdir() if _is_own(path))
    paths = [path for path in files if _is_picture(path)]
    captions = {path.stem: path for path in files if path.suffix.lower() == CAPTION}
    if not paths:
        raise DataError(f"{folder}: no pictures, {_instead(folder, files)}: {WANTED}.")
    strange = [path for stem, path in captions.items() if stem not in {p.stem for p in paths}]
    if strange:
        raise DataError(
            f"{folder}: {len(strange)} of {len(captions)} .txt files have no picture of their name "
            f"({_listed(strange)}): rename or remove them."
        )
    _require_readable(folder, paths)
    if len(paths) < MIN_PICTURES:
        raise DataError(
            f"{folder}: {len(paths)} pictures ({_listed(paths)}), wanted at least {MIN_PICTURES}, "
            "better 5 to 20: from fewer the pictures themselves are learnt by heart."
        )
    asked = _read_questions(folder / QUESTIONS)
    only_asked = {each.path for each in asked} - {p for p in paths if p.stem in captions}
    drawn = [path for path in paths if path not in only_asked]
    return PictureFolder([Picture(p, _caption(captions.get(p.stem))) for p in drawn], asked)


def _read_questions(file: Path) -> list[Asked]:
    """The first turns of its conversations; none where there is no such file.

    Raises:
        DataError: it is not what LLaVA calls a list of conversations, or a picture is missing.
    """
    if not file.is_file():
        return []
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        asked = [
            Asked(
                file.parent / row["image"],
                row["conversations"][0]["value"].replace(LLAVA_TAG, "").strip(),
                row["conversations"][1]["value"].strip(),
            )
            for row in rows
        ]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(
            f"{file}: {type(error).__name__} ({error}), wanted LLaVA's layout: "
            '[{"image": "a.png", "conversations": [{"from": "human", "value": "..."}, '
            '{"from": "gpt", "value": "..."}]}, ...].'
        ) from error
    missing = list(dict.fromkeys(each.path for each in asked if not each.path.is_file()))
    if missing:
        raise DataError(f"{file}: asks about {_listed(missing)}, which is not beside it: add it.")
    return asked


def _is_own(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def _is_picture(path: Path) -> bool:
    return Image.registered_extensions().get(path.suffix.lower()) in READABLE_FORMATS


def _instead(folder: Path, files: Sequence[Path]) -> str:
    """What a folder without pictures holds."""
    inside = {path.parent for path in folder.rglob("*") if _is_own(path) and _is_picture(path)}
    if inside:
        return f"but some in {_listed(sorted(inside))} inside it (name that folder)"
    return f"but {len(files)} other files ({_listed(files)})" if files else "it is empty"


def _require_readable(folder: Path, paths: Sequence[Path]) -> None:
    bad: dict[Path, str] = {}
    for path in paths:
        try:
            open_image(path)
        except ImageError as error:
            bad[path] = str(error)
    if bad:
        raise DataError(
            f"{folder}: {len(bad)} of {len(paths)} pictures cannot be read ({_listed(list(bad))}): "
            f"get them again, or remove them. {next(iter(bad.values()))}"
        )


def _caption(file: Path | None) -> str | None:
    """What a file says, in one line.

    Raises:
        DataError: it is empty, or is no text.
    """
    if file is None:
        return None
    try:
        said = " ".join(file.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 ({error.reason}): save it as UTF-8.") from error
    if not said:
        raise DataError(f"{file}: empty: write what its picture shows, or remove the file.")
    return said


def _listed(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return ", ".join(path.name for path in paths[:SHOWN]) + more
