"""The tasks `mmbench` and `seed`: questions that are answered with an option's letter."""

import base64
import binascii
from collections.abc import Mapping

from janusflow.evaluation.reading import Entry, entries_of, identity, read_json, read_table
from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.scores import shares
from janusflow.evaluation.tasks import Item, Task, ToAnswer, first_of_each

LETTERS = "ABCD"
LETTER_ONLY = "\nAnswer with the option's letter from the given choices directly."
MARKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
NO_HINT = ("", "nan")
CIRCULAR_INDEX = 10**6
"""Rows from here on repeat a question with its options turned."""
SEED_IMAGE_TYPES = {
    1: "scene understanding",
    2: "instance identity",
    3: "instance attributes",
    4: "instance location",
    5: "instances counting",
    6: "spatial relation",
    7: "instance interaction",
    8: "visual reasoning",
    9: "text understanding",
}


def mmbench(options: TaskOptions) -> Task:
    """MMBench's table, e.g. MMBench_DEV_EN.tsv; pictures are in it."""
    columns = ("index", "question", "A", "B", "answer", "image", "l2-category")
    rows = [
        row
        for row in read_table(options.path("data"), columns, delimiter="\t")
        if _index(row) < CIRCULAR_INDEX
    ]
    encoded = {row.get("index", str): row.get("image", str) for row in rows}
    return _choice_task(
        "mmbench",
        "MMBench without circular evaluation, as the authors measured it; letters by VLMEvalKit's "
        "rule, no judge.",
        identity(options.path("data")),
        [_mmbench_item(row, encoded) for row in rows],
        options,
    )


def seed(options: TaskOptions) -> Task:
    """SEED-Bench's questions about pictures (SEED-Bench.json)."""
    items = []
    for entry in entries_of(read_json(options.path("data")), "questions"):
        kind = entry.get("question_type_id", int)
        if kind not in SEED_IMAGE_TYPES:
            continue
        choices = {letter: entry.get(f"choice_{letter.lower()}", str) for letter in LETTERS}
        items.append(
            ToAnswer(
                id=str(entry.values.get("question_id")),
                kind=SEED_IMAGE_TYPES[kind],
                picture=entry.picture(options.path("pictures"), entry.get("data_id", str)),
                question=choice_prompt(entry.get("question", str), choices, hint=None),
                facts={"options": choices, "wanted": entry.one_of("answer", LETTERS)},
            )
        )
    return _choice_task(
        "seed",
        "SEED-Bench's questions about pictures, answered with a letter (its own script compares "
        "likelihoods instead).",
        identity(options.path("data")),
        items,
        options,
    )


def choice_prompt(question: str, options: Mapping[str, str], *, hint: str | None) -> str:
    """Hint, question, options and what to do, as VLMEvalKit's vlm/janus.py has it."""
    start = "" if hint is None else f"Hint: {hint}\n"
    listed = "".join(f"{letter}. {text}\n" for letter, text in options.items())
    return f"{start}{question}\n{listed}{LETTER_ONLY}"


def chosen_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The one option that an answer names, by its letter or else by its text (VLMEvalKit).

    An A among more than three words may be an article.
    """
    words = answer.translate(MARKS).split()
    letters = [letter for letter in options if letter in words]
    if len(letters) == 1 and not (letters == ["A"] and len(words) > 3):
        return letters[0]
    if len(answer) > 2 * sum(map(len, options.values())):
        return None
    named = [letter for letter, text in options.items() if text.lower() in answer.lower()]
    return named[0] if len(named) == 1 else None


def _choice_task(
    name: str, protocol: str, settings: dict[str, str], items: list[Item], options: TaskOptions
) -> Task:
    def judge(item: ToAnswer, answer: str) -> dict[str, object]:
        said = chosen_letter(answer, item.facts["options"])
        return {"right": said == item.facts["wanted"], "said": said}

    return Task(
        name=name,
        protocol=protocol,
        settings=settings,
        items=first_of_each(items, options.limit),
        judge=judge,
        score=lambda rows: shares([(row["kind"], row["right"]) for row in rows]),
    )


def _index(row: Entry) -> int:
    index = row.get("index", str)
    if not index.isdigit():
        raise row.wrong(f"index={index!r}, wanted a whole number")
    return int(index)


def _mmbench_item(row: Entry, encoded: Mapping[str, str]) -> ToAnswer:
    texts = {letter: str(row.values.get(letter, "")) for letter in LETTERS}
    options = {letter: text for letter, text in texts.items() if text not in NO_HINT}
    hint = str(row.values.get("hint", ""))
    image = row.get("image", str)
    # A row may name the row whose picture it shares.
    image = encoded.get(image, image)
    try:
        picture = base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise row.wrong(f"image={image[:20]!r}, no base64 ({error})") from None
    return ToAnswer(
        id=row.get("index", str),
        kind=row.get("l2-category", str),
        picture=picture,
        question=choice_prompt(
            row.get("question", str), options, hint=None if hint in NO_HINT else hint
        ),
        facts={"options": options, "wanted": row.one_of("answer", list(options))},
    )
