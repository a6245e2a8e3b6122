"""Rows of training data as people publish them, read into chats, captioned images and texts.

Each function names the layout it reads; docs/training.md shows a row of each.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from janusflow.config.errors import DataError, ImageError
from janusflow.data.samples import Turn
from janusflow.data.sources.tables import Row
from janusflow.processing.conversations import SYSTEM_ROLES, read_conversation, with_images
from janusflow.processing.image_files import ImageInput, image_from_url
from janusflow.processing.templates import USER
from janusflow.processing.video import DEFAULT_FRAMES, sample_frames

LLAVA_TAG, FILM_TAG = "<image>", "<video>"
ROLES = {"human": "user"} | dict.fromkeys(("gpt", "model", "bot"), "assistant")
"""Other names of the two who speak."""
IMAGE_COLUMNS = (
    "image",
    "images",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "img_path",
    "image_path",
    "file",
)
FILM_COLUMNS = ("video", "videos")
CAPTION_COLUMNS = ("caption", "captions", "text", "txt", "prompt")
LABEL_COLUMNS = ("label", "labels", "class", "category", "category_id")
TEXT_COLUMNS = ("text", "content")
SHOWN_NAMES = 8
"""Columns a message lists."""


@dataclass(frozen=True, kw_only=True)
class Given:
    """What reading a row needs beside it."""

    folder: Path
    """Where relative image paths start."""
    image_tag: str
    """What stands for an image in a question."""
    columns: Mapping[str, str]
    """Our name of a column -> the file's."""
    frames: int = DEFAULT_FRAMES
    """Images that a film is shown by."""

    def names(self, ours: str, usual: tuple[str, ...]) -> tuple[str, ...]:
        """Columns to look for: the one that was named, else the usual ones."""
        return (self.columns[ours],) if ours in self.columns else usual


class Chat(NamedTuple):
    """Images and what was said about them."""

    images: tuple[ImageInput, ...]
    turns: tuple[Turn, ...]
    system: str | None = None


class Captioned(NamedTuple):
    """An image and one or more descriptions of all of it."""

    images: tuple[ImageInput]
    captions: tuple[str, ...]


def value(row: Row, *names: str) -> Any:
    """The first of these columns that the row has and that is not empty.

    A name may lead into a column: `json.caption`; capitals do not matter.

    Raises:
        DataError: it has none of them.
    """
    found = [_inside(row, name) for name in names]
    filled = next((each for each in found if not _is_empty(each)), None)
    if filled is None:
        has = [*map(str, row)]
        more = f" and {len(has) - SHOWN_NAMES} more" if len(has) > SHOWN_NAMES else ""
        shown = ", ".join(f"{name:.32}" for name in has[:SHOWN_NAMES])
        empty = [name for name in names if name in row]
        other = " (or name another by an option)" if len(names) > 1 else ""
        what = f"{empty[0]} is empty" if empty else f"wanted {' or '.join(names)}{other}"
        raise DataError(f"the row has {shown or 'nothing'}{more}; {what}.")
    return filled


def _inside(row: Any, name: str) -> Any:
    """A column, or what it holds under a dotted name (of a list: what each of its items holds)."""
    if isinstance(row, list):
        return [_inside(each, name) for each in row]
    if not isinstance(row, Mapping):
        return None
    if name in row:
        return row[name]
    alike = next((column for column in row if str(column).lower() == name.lower()), None)
    if alike is not None:
        return row[alike]
    first, dot, rest = name.partition(".")
    return _inside(_inside(row, first), rest) if dot else None


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list) and not value)


def images_of(value: Any, folder: Path) -> tuple[ImageInput, ...]:
    """A column's images: each a path, embedded data, bytes, or what `datasets` makes of them."""
    return tuple(image_of(each, folder) for each in (value if isinstance(value, list) else [value]))


def image_of(value: Any, folder: Path) -> ImageInput:
    """An image column's value; relative paths start from a folder.

    Raises:
        DataError, PromptError: it is no image's.
    """
    if isinstance(value, Mapping):
        value = next((value[k] for k in ("bytes", "path", "url") if value.get(k)), value)
    if isinstance(value, str):
        value = image_from_url(value)
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, bytes | Image.Image):
        return value
    raise DataError(f"an image of type {type(value).__name__}: wanted a path or a file's bytes.")


def require_files(paths: Iterable[Any], folder: Path) -> None:
    """Refuse paths inside a folder where nothing lies; others are for who opens them.

    Raises:
        ImageError: there is no such file.
    """
    for path in paths:
        if isinstance(path, Path) and path.is_relative_to(folder) and not os.path.exists(path):
            raise ImageError(
                f"{str(path.relative_to(folder))!r:.100} does not exist in {folder}: name the "
                "folder of the files (`images: FOLDER` in a recipe, else --images FOLDER)."
            )


def texts_of(value: Any, name: str = "text") -> tuple[str, ...]:
    """One text or a list of them, without the empty ones; numbers are the words they stand for.

    Raises:
        DataError: there is none, or something else among them.
    """
    texts = value if isinstance(value, list) else [value]
    for text in texts:
        if isinstance(text, Mapping):
            keys = ", ".join(f"{name}.{key:.40}" for key in [*map(str, text)][:SHOWN_NAMES])
            raise DataError(f"{name} holds {keys}: name one as column, e.g. --option {name}=...")
        if text is not None and not _is_text(text):
            raise DataError(f"{name} is {text!r:.60}: wanted a text or a list of texts.")
    kept = tuple(str(text).strip() for text in texts if text is not None and str(text).strip())
    if not kept:
        raise DataError(f"no text in {name}, which is {value!r:.60}: wanted one or a list of them.")
    return kept


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def read_chat(row: Row, given: Given) -> Chat:
    """Questions and answers under `conversations` or `messages`, the images beside or inside.

    Messages may be LLaVA's (`from` human or gpt, `value`), OpenAI's (`role`, `content`, also in
    parts), or anything between. Where `<image>` stands, an image goes; a `video` is shown by some
    of its frames, where `<video>` or `<image>` stands. System messages and a `system` column are
    kept.

    Raises:
        DataError, PromptError: it is no exchange of questions and answers, or images are amiss.
    """
    tag = given.image_tag
    said = value(row, "conversations", "messages")
    if not isinstance(said, list):
        raise DataError(f"messages are {said!r:.60}: wanted a list of them.")
    films = films_of(row, given)
    place = placing(films, tag)
    messages = [_message(each, number, place) for number, each in enumerate(said, start=1)]
    chat = read_conversation(messages, image_tag=tag)
    texts = [message["content"].strip() for message in chat.messages]
    if chat.messages[-1]["role"] == USER:
        raise DataError(f"{len(texts)} messages, the last one a question: wanted its answer.")
    beside = next((row[name] for name in IMAGE_COLUMNS if not _is_empty(row.get(name))), [])
    images = beside if isinstance(beside, list) else [beside]
    if images and films:
        raise DataError(f"{len(images)} images and {len(films)} films in a row: wanted one kind.")
    images = [*images, *chain.from_iterable(films)]
    if chat.images:  # otherwise no message says where they stand: before the first
        images = with_images(chat, images, number=1, image_tag=tag)
    system = chat.system_prompt if _is_empty(row.get("system")) else row["system"]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return Chat(
        images_of([*images], given.folder),
        tuple(Turn(question=asked, answer=said) for asked, said in pairs),
        None if _is_empty(system) else texts_of(system, "system")[0],
    )


def _message(said: Any, number: int, place: Callable[[str], str]) -> Row:
    """A message of any layout in OpenAI's.

    Raises:
        DataError: it has no words.
    """
    names = [*said] if isinstance(said, Mapping) else []
    if not {"role", "from"} & {*names} or not {"content", "value"} & {*names}:
        shown = ", ".join(f"{name:.40}" for name in names[:SHOWN_NAMES]) or f"{said!r:.60}"
        raise DataError(
            f"message {number} has {shown}: wanted role and content, or from and value."
        )
    role = str(value(said, "role", "from"))
    content = next((said[key] for key in ("content", "value") if said.get(key) is not None), "")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    placed = [_part(part, place) for part in parts]
    is_empty = all(part["type"] == "text" and not part["text"].strip() for part in placed)
    if is_empty and role not in SYSTEM_ROLES:
        raise DataError(f"message {number} ({role:.40}) is empty: give it words, or leave it out.")
    rest = {key: held for key, held in said.items() if key not in ("from", "value")}
    return rest | {"role": ROLES.get(role.lower(), role), "content": placed}


def _part(part: Any, place: Callable[[str], str]) -> Row:
    """A part of a message, images placed by the model's tag; a number is the text it stands for."""
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if part.get("type") == "text":
        said = part.get("text")
        if said is not None and not _is_text(said):
            raise DataError(f"a message holds {said!r:.60}: wanted text.")
        text = "" if said is None else str(said)
        return {"type": "text", "text": place(text)}
    return part


def films_of(row: Row, given: Given) -> list[list[ImageInput]]:
    """The frames of each of a row's films.

    Raises:
        DataError: a film is no path of a file.
        ConfigError, ImageError: it is not there or cannot be read, see `sample_frames`.
    """
    found = next((row[name] for name in FILM_COLUMNS if not _is_empty(row.get(name))), [])
    films = found if isinstance(found, list) else [found]
    odd = next((film for film in films if not isinstance(film, str)), None)
    if odd is not None:
        raise DataError(f"a film of type {type(odd).__name__}: wanted the path of a file.")
    paths = [given.folder / film for film in films]
    require_files(paths, given.folder)
    return [[*sample_frames(path, given.frames)] for path in paths]


def placing(films: Sequence[Sequence[ImageInput]], image_tag: str) -> Callable[[str], str]:
    """What puts the model's tag where a text has an image or, one for each frame, a film.

    Raises:
        DataError: a text shows a film that is not there.
    """
    rest = iter(films)

    def of_film(found: re.Match[str]) -> str:
        frames = next(rest, None)
        if frames is None:
            raise DataError(f"one more {found[0]} than the row's {len(films)} films.")
        return "\n".join([image_tag] * len(frames))

    def place(text: str) -> str:
        if films:
            return re.sub(f"{FILM_TAG}|{LLAVA_TAG}", of_film, text)
        said = text.strip()
        if said.startswith(FILM_TAG) or said.endswith(FILM_TAG):
            raise DataError(f"a message shows {FILM_TAG}, and the row has no {FILM_COLUMNS[0]}.")
        return text.replace(LLAVA_TAG, image_tag)

    return place


def read_captioned(row: Row, given: Given) -> Captioned:
    """An image column and a caption column, which may hold several captions."""
    images = images_of(value(row, *given.names("image", IMAGE_COLUMNS)), given.folder)
    if len(images) != 1:
        raise DataError(f"{len(images)} images for one caption: wanted one.")
    name = given.columns.get("caption", "caption")
    said = value(row, *given.names("caption", CAPTION_COLUMNS))
    if name in LABEL_COLUMNS and isinstance(said, int):
        raise DataError(f"{name} is {said}, a class's number: wanted its name in words.")
    return Captioned((images[0],), texts_of(said, name))


def read_vqa(row: Row, given: Given) -> Chat:
    """Questions about an image, one or as many as there are answers, each with its own.

    Of several answers to one question the most frequent is taken.
    """
    images = images_of(value(row, *given.names("image", IMAGE_COLUMNS)), given.folder)
    asked = value(row, *given.names("question", ("question",)))
    answers = value(row, *given.names("answer", ("answer", "answers")))
    questions = texts_of(asked, "question")
    if len(questions) == 1:
        answers = [answers]
    if not isinstance(answers, list) or len(answers) != len(questions):
        num = len(answers) if isinstance(answers, list) else 1
        raise DataError(f"{len(questions)} questions and {num} answers: wanted one for each.")
    each = [texts_of(said, "answer") for said in answers]
    turns = zip(questions, (max(said, key=said.count) for said in each), strict=True)
    return Chat(images, tuple(Turn(question=question, answer=said) for question, said in turns))


def read_text(row: Row, given: Given) -> str:
    """A text column; rows of films are no text.

    Raises:
        DataError: there is no text, or more than it.
    """
    film = next((name for name in FILM_COLUMNS if not _is_empty(row.get(name))), None)
    if film is not None:
        raise DataError(f"the row has a {film}, whose words alone would be learnt: wanted a text.")
    text, *others = texts_of(value(row, *given.names("text", TEXT_COLUMNS)))
    if others:
        raise DataError(f"{1 + len(others)} texts in one row, {text!r:.60} first: wanted one.")
    return text
