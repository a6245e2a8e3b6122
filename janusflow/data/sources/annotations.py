"""Annotation files of well-known data sets, read into rows of images with captions or questions."""

from collections.abc import Mapping
from typing import Any, cast

from janusflow.config.errors import ConfigError, DataError
from janusflow.data.sources.adapters import SHOWN_NAMES, value
from janusflow.data.sources.tables import (
    MappedTable,
    Row,
    Table,
    compact_table,
    open_table,
    read_json,
)


def coco_captions(path: str) -> Table:
    """COCO's captions_*.json: one row an image, with all its captions."""
    content = read_json(path)
    captions: dict[int, list[str]] = {}
    for each in _entries(content, "annotations", ("image_id", "caption"), path):
        captions.setdefault(each["image_id"], []).append(each["caption"])
    rows = [
        {"image": image["file_name"], "caption": captions[image["id"]]}
        for image in _entries(content, "images", ("id", "file_name"), path)
        if image["id"] in captions
    ]
    return compact_table(rows, path)


def vqav2(path: str, *, answers: str = "", name: str = "COCO_train2014_{:012d}.jpg") -> Table:
    """VQAv2's questions file and, as the option `answers`, its annotations file."""
    if not answers:
        raise ConfigError(
            f"{path}: answers={answers!r}: name the annotations file (`options: {{answers: "
            "FILE}}` of the source in a recipe, --option answers=FILE on the command line)."
        )
    wanted = ("question_id", "multiple_choice_answer")
    given = {
        each["question_id"]: each["multiple_choice_answer"]
        for each in _entries(read_json(answers), "annotations", wanted, answers)
    }
    wanted = ("image_id", "question", "question_id")
    rows = [
        {
            "image": name.format(each["image_id"]),
            "question": each["question"],
            "answer": given[each["question_id"]],
        }
        for each in _entries(read_json(path), "questions", wanted, path)
        if each["question_id"] in given
    ]
    return compact_table(rows, path)


def gqa(path: str) -> Table:
    """GQA's questions file: an object of questions by id."""
    questions = {"questions": [*read_json(path).values()]}
    rows = [
        {"image": f"{each['imageId']}.jpg", "question": each["question"], "answer": each["answer"]}
        for each in _entries(questions, "questions", ("imageId", "question", "answer"), path)
    ]
    return compact_table(rows, path)


def _entries(content: Any, part: str, keys: tuple[str, ...], path: str) -> list[Row]:
    """A list inside a file, of which every entry has these keys.

    Raises:
        DataError: the file is something else.
    """
    entries = content.get(part) if isinstance(content, Mapping) else None
    if not isinstance(entries, list):
        has = ", ".join([*map(str, content)][:SHOWN_NAMES]) if isinstance(content, Mapping) else ""
        what = f"has {has or 'no keys'}" if isinstance(content, Mapping) else "holds no object"
        raise DataError(f"{path} {what}: wanted a list of {part} in it.")
    for number, entry in enumerate(entries):
        missing = [key for key in keys if key not in entry]
        if missing:
            raise DataError(
                f"{path}: entry {number} of {part} has no {missing[0]} but {', '.join(entry)}: "
                f"wanted {', '.join(keys)}. Is it another of the data set's files?"
            )
    return entries


def journeydb(path: str) -> Table:
    """JourneyDB's annotations (.jsonl): the machine's caption, else the author's prompt."""
    return MappedTable(
        cast(Table, open_table(path)),
        lambda row: {
            "image": value(row, "img_path"),
            "caption": (row.get("Task2") or {}).get("Caption") or value(row, "prompt"),
        },
    )


def localized_narratives(path: str) -> Table:
    """Localized Narratives of Open Images (.jsonl)."""
    return MappedTable(
        cast(Table, open_table(path)),
        lambda row: {"image": f"{value(row, 'image_id')}.jpg", "caption": value(row, "caption")},
    )
