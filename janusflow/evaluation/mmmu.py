"""The task `mmmu`: college questions with pictures inside, answered with a letter or freely."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from janusflow.data.tables import Table, open_table
from janusflow.evaluation.choices import choice_prompt
from janusflow.evaluation.mmmu_answers import chosen_option, is_open_right
from janusflow.evaluation.reading import Entry, identity, splits
from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.scores import Measurement, shares
from janusflow.evaluation.tasks import Row, Task, ToAnswer, first_of_each

DISCIPLINES = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Sociology", "Psychology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
DISCIPLINE_OF = {subject: name for name, subjects in DISCIPLINES.items() for subject in subjects}
ID = re.compile(r"(?:dev|validation|test)_(\w+)_\d+")
MARK = re.compile(r"<image (\d)>")
"""Stands in a question or an option for the picture of the column image_1 and so on."""
CHOICE, OPEN = "multiple-choice", "open"
DIRECTLY = "\nAnswer the question directly."
"""What the authors' group adds to a question without options (VLMEvalKit, vlm/janus.py)."""


def mmmu(options: TaskOptions) -> Task:
    """MMMU's subjects: one's parquet file, or a folder with a folder for each, as on the hub."""
    files = splits(options.path("data"), "*/validation-*.parquet")
    items = [_item(row) for row in _rows(files)]
    return Task(
        name="mmmu",
        protocol="MMMU by the official rules, each picture where the question names it; an answer "
        "that names no option is wrong (officially one is drawn at random).",
        settings=identity(*files),
        items=first_of_each(items, options.limit),
        judge=judge,
        score=mmmu_scores,
    )


def judge(item: ToAnswer, answer: str) -> dict[str, Any]:
    """Right or wrong by the official rules, and the option that was named if there are some."""
    facts = item.facts
    if "options" not in facts:
        return {"right": is_open_right(answer, facts["wanted"])}
    said = chosen_option(answer, facts["options"])
    return {"right": said == facts["wanted"], "said": said}


def mmmu_scores(rows: Sequence[Row]) -> list[Measurement]:
    """Accuracy of every subject, then of every discipline, then of all questions alike."""
    by_subject = shares([(row["kind"], row["right"]) for row in rows])[:-1]
    return [*by_subject, *shares([(DISCIPLINE_OF[row["kind"]], row["right"]) for row in rows])]


def _rows(files: Sequence[Path]) -> Iterator[Entry]:
    for path in files:
        table = open_table(str(path))
        assert isinstance(table, Table)  # not streamed
        for index in range(len(table)):
            yield Entry(where=f"{path}, row {index}", values=table[index])


def _item(row: Entry) -> ToAnswer:
    id, question = row.get("id", str), row.get("question", str)
    found = ID.fullmatch(id)
    if found is None or found[1] not in DISCIPLINE_OF:
        raise row.wrong(f"id={id[:60]!r}, wanted validation_SUBJECT_NUMBER")
    if row.one_of("question_type", (CHOICE, OPEN)) == CHOICE:
        texts = _literal_texts(row, "options")
        options = dict(zip(ascii_uppercase, texts, strict=False))
        prompt = choice_prompt(question, options, hint=None)
        facts = {"options": options, "wanted": row.one_of("answer", list(options))}
    else:
        prompt = question + DIRECTLY
        facts = {"wanted": _wanted_texts(row)}
    return ToAnswer(
        id=id,
        kind=found[1],
        picture={match[0]: _picture(row, match[1]) for match in MARK.finditer(prompt)},
        question=prompt,
        facts=facts,
    )


def _picture(row: Entry, number: str) -> bytes:
    """A picture file within the table."""
    held = row.values.get(f"image_{number}")
    content = held.get("bytes") if isinstance(held, dict) else None
    if not isinstance(content, bytes):
        raise row.wrong(f"image_{number}={str(held)[:60]}, wanted the picture <image {number}>")
    return content


def _literal_texts(row: Entry, name: str) -> list[str]:
    """Texts that the table holds as Python writes a list of them."""
    try:
        texts = ast.literal_eval(row.get(name, str))
    except (ValueError, SyntaxError):
        texts = None
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise row.wrong(f"{name}={str(row.values[name])[:60]!r}, wanted texts as ['one', 'two']")
    return texts


def _wanted_texts(row: Entry) -> list[str]:
    """The answer of an open question, or several that are right."""
    answer = row.get("answer", str)
    return _literal_texts(row, "answer") if answer.startswith("['") else [answer]
