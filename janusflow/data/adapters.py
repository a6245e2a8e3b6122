"""Rows of training data as people publish them, read into chats, captioned pictures and texts.

Each function names the layout it reads; docs/training.md shows a row of each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from janusflow.config.errors import DataError
from janusflow.data.samples import Turn
from janusflow.data.tables import Table, open_table, read_json
from janusflow.processing.conversations import read_conversation, with_images
from janusflow.processing.image_files import ImageInput
from janusflow.processing.templates import USER

LLAVA_TAG = "<image>"
LLAVA_ROLES = {"human": "user", "gpt": "assistant"}
PICTURE_COLUMNS = (
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
CAPTION_COLUMNS = ("caption", "captions", "text", "txt", "prompt")
TEXT_COLUMNS = ("text", "content")

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Given:
    """What reading a row needs beside it."""

    folder: Path
    """Where relative picture paths start."""
    image_tag: str
    """What stands for a picture in a question."""
    columns: Mapping[str, str]
    """Our name of a column -> the file's."""

    def names(self, ours: str, usual: tuple[str, ...]) -> tuple[str, ...]:
        """Columns to look for: the one that was named, else the usual ones."""
        return (self.columns[ours],) if ours in self.columns else usual


class Chat(NamedTuple):
    """Pictures and what was said about them."""

    pictures: tuple[ImageInput, ...]
    turns: tuple[Turn, ...]


class Captioned(NamedTuple):
    """A picture and one or more descriptions of all of it."""

    picture: ImageInput
    captions: tuple[str, ...]


def value(row: Row, *names: str) -> Any:
    """The first of these columns that the row has.

    Raises:
        DataError: it has none of them.
    """
    found = next((row[name] for name in names if row.get(name) not in (None, "")), None)
    if found is None:
        raise DataError(f"the row has {', '.join(row)}, wanted {' or '.join(names)}.")
    return found


def picture_of(value: Any, folder: Path) -> ImageInput:
    """A picture column's value: a path, bytes, or what `datasets` makes of them."""
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (str, Path)):
        return folder / value
    if isinstance(value, bytes):
        return value
    raise DataError(f"a picture of type {type(value).__name__}: wanted a path or a file's bytes.")


def texts_of(value: Any) -> tuple[str, ...]:
    """One text or a list of them, without the empty ones."""
    texts = [value] if isinstance(value, str) else list(value)
    kept = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
    if not kept:
        raise DataError(f"no text in {value!r:.60}: wanted a text or a list of texts.")
    return kept


def read_chat(row: Row, given: Given) -> Chat:
    """LLaVA's `conversations` (from human and gpt) or OpenAI's `messages`, with `image` beside.

    Raises:
        DataError, PromptError: it is no exchange of questions and answers, or pictures are amiss.
    """
    tag = given.image_tag
    messages = [_message(said, tag) for said in value(row, "conversations", "messages")]
    chat = read_conversation(messages, image_tag=tag)
    texts = [message["content"].strip() for message in chat.messages]
    if chat.messages[-1]["role"] == USER:
        raise DataError(f"{len(texts)} messages, the last one a question: wanted its answer.")
    beside = next((row[name] for name in PICTURE_COLUMNS if row.get(name)), [])
    pictures = beside if isinstance(beside, list) else [beside]
    if chat.images:  # otherwise no message says where they stand: before the first
        pictures = with_images(chat, pictures, number=1, image_tag=tag)
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return Chat(
        tuple(picture_of(picture, given.folder) for picture in pictures),
        tuple(Turn(question=asked, answer=said) for asked, said in pairs),
    )


def _message(said: Row, image_tag: str) -> Row:
    if "from" not in said:
        return said
    role = LLAVA_ROLES.get(said["from"], said["from"])
    return {"role": role, "content": value(said, "value").replace(LLAVA_TAG, image_tag)}


def read_captioned(row: Row, given: Given) -> Captioned:
    """A picture column and a caption column, which may hold several captions."""
    pictures = value(row, *given.names("image", PICTURE_COLUMNS))
    captions = value(row, *given.names("caption", CAPTION_COLUMNS))
    picture = pictures[0] if isinstance(pictures, list) else pictures
    return Captioned(picture_of(picture, given.folder), texts_of(captions))


def read_vqa(row: Row, given: Given) -> Chat:
    """One question about a picture; of several answers the most frequent one."""
    picture = value(row, *given.names("image", PICTURE_COLUMNS))
    (question, *_) = texts_of(value(row, *given.names("question", ("question",))))
    answers = texts_of(value(row, *given.names("answer", ("answer", "answers"))))
    turn = Turn(question=question, answer=max(answers, key=answers.count))
    return Chat((picture_of(picture, given.folder),), (turn,))


def read_text(row: Row, given: Given) -> str:
    """A text column."""
    return texts_of(value(row, *given.names("text", TEXT_COLUMNS)))[0]


def coco_captions(path: str) -> Table:
    """COCO's captions_*.json: one row a picture, with all its captions."""
    content = read_json(path)
    captions: dict[int, list[str]] = {}
    for annotation in value(content, "annotations"):
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    return [
        {"image": image["file_name"], "caption": captions[image["id"]]}
        for image in value(content, "images")
        if image["id"] in captions
    ]


def vqav2(path: str, *, answers: str, name: str = "COCO_train2014_{:012d}.jpg") -> Table:
    """VQAv2's questions file and, as the option `answers`, its annotations file."""
    given = {
        each["question_id"]: each["multiple_choice_answer"]
        for each in value(read_json(answers), "annotations")
    }
    return [
        {
            "image": name.format(each["image_id"]),
            "question": each["question"],
            "answer": given[each["question_id"]],
        }
        for each in value(read_json(path), "questions")
        if each["question_id"] in given
    ]


def gqa(path: str) -> Table:
    """GQA's questions file: an object of questions by id."""
    return [
        {"image": f"{each['imageId']}.jpg", "question": each["question"], "answer": each["answer"]}
        for each in read_json(path).values()
    ]


def journeydb(path: str) -> Table:
    """JourneyDB's annotations (.jsonl): the machine's caption, else the author's prompt."""
    return _Mapped(
        cast(Table, open_table(path)),
        lambda row: {
            "image": value(row, "img_path"),
            "caption": (row.get("Task2") or {}).get("Caption") or value(row, "prompt"),
        },
    )


def localized_narratives(path: str) -> Table:
    """Localized Narratives of Open Images (.jsonl)."""
    return _Mapped(
        cast(Table, open_table(path)),
        lambda row: {"image": f"{value(row, 'image_id')}.jpg", "caption": value(row, "caption")},
    )


@dataclass(frozen=True)
class _Mapped:
    """A table whose rows are read as others, one at a time."""

    table: Table
    read: Callable[[Row], Row]

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Row:
        return self.read(self.table[row])
