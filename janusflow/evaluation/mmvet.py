"""The task `mmvet`: free answers, which a language model grades elsewhere.

The first run answers and writes what the official evaluator (mm-vet_evaluator.py of
github.com/yuweihao/MM-Vet, Yu et al. 2024) reads. With its grades as `--judge`, the same command
sums them up.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.reading import Entry, entries_by_key, identity, read_json, read_table
from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.scores import Measurement, mean
from janusflow.evaluation.tasks import Row, Task, ToAnswer, first_of_each

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
"""Recognition, text in pictures, knowledge, language generation, space, mathematics."""
TOTAL = "total"
TABLE = ".csv"
STEP_BY_STEP = (
    "You are a helpful assistant. Please answer truthfully and write out your thinking step by "
    "step to be sure you get the right answer."
)
"""The system prompt that the authors' group gives here (VLMEvalKit, vlm/janus.py)."""
MAX_ANSWER_TOKENS = 2048
"""Theirs, too."""


def mmvet(options: TaskOptions) -> Task:
    """MM-Vet's questions (mm-vet.json), and its judge's grades where they are there."""
    data = options.path("data")
    entries = entries_by_key(read_json(data))
    capabilities = {id: _capabilities(entry) for id, entry in entries.items()}
    items = [
        ToAnswer(
            id=id,
            kind="+".join(capabilities[id]),
            picture=entry.picture(options.path("pictures"), entry.get("imagename", str)),
            question=entry.get("question", str),
            system_prompt=STEP_BY_STEP,
            max_new_tokens=MAX_ANSWER_TOKENS,
            facts={"wanted": entry.get("answer", str)},
        )
        for id, entry in entries.items()
    ]
    chosen = first_of_each(items, options.limit)
    needed = {item.id: capabilities[item.id] for item in chosen}
    scores = [] if options.judge is None else read_grades(Path(options.judge), needed)
    if options.limit is not None and str(options.judge).endswith(TABLE):
        raise ConfigError(
            f"--limit {options.limit} with --judge {options.judge}: that table is about all "
            "questions. Leave --limit out, or name the .json of grades."
        )
    return Task(
        name="mmvet",
        protocol="MM-Vet: answers graded from 0 to 1 by the official evaluator's language model.",
        settings=identity(data),
        items=chosen,
        judge=lambda *_: {},
        score=lambda _: scores,
        for_judge=answers_by_id,
    )


def answers_by_id(rows: Sequence[Row]) -> dict[str, str]:
    """The file that the official evaluator takes as --result_file."""
    return {row["id"]: row["answer"] for row in rows}


def read_grades(path: Path, needed: Mapping[str, Sequence[str]]) -> list[Measurement]:
    """Scores from a file that the official evaluator wrote.

    Args:
        path: its grades (.json), or its table of scores by capability (.csv).
        needed: the capabilities that each question needs.

    Raises:
        DataError: the file is neither, lacks a question, or a grade is outside 0 to 1.
    """
    if path.suffix == TABLE:
        return _table_scores(path, needed)
    entries = entries_by_key(read_json(path))
    missing = [id for id in needed if id not in entries]
    if missing:
        raise DataError(
            f"{path}: got no grade of {len(missing)} questions, the first of them {missing[0]}. "
            "Let the judge grade all answers of this run."
        )
    grades = {id: fmean(_grades(entries[id])) for id in needed}
    scores = [
        mean(name, [grades[id] for id, names in needed.items() if name in names])
        for name in CAPABILITIES
        if any(name in names for names in needed.values())
    ]
    return [*scores, mean(TOTAL, list(grades.values()))]


def _grades(entry: Entry) -> list[float]:
    """A question's grades, one for each run of the judge."""
    grades: list[Any] = entry.get("score", list)
    are_numbers = all(isinstance(grade, int | float) and 0 <= grade <= 1 for grade in grades)
    if not grades or not are_numbers:
        raise entry.wrong(f"score={str(grades)[:60]}, wanted numbers from 0 to 1")
    return [float(grade) for grade in grades]


def _table_scores(path: Path, needed: Mapping[str, Sequence[str]]) -> list[Measurement]:
    """The official table's own numbers: percent, and no interval, for questions are not in it."""
    names = (*CAPABILITIES, TOTAL)
    rows = read_table(path, names, delimiter=",")
    if len(rows) != 1:
        raise DataError(f"{path}: got {len(rows)} models, wanted one line. Keep this run's alone.")
    return [
        Measurement(
            name=name,
            value=_percent(rows[0], name) / 100,
            num_items=sum(name in (*kinds, TOTAL) for kinds in needed.values()),
        )
        for name in names
    ]


def _percent(row: Entry, name: str) -> float:
    text = row.get(name, str)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise row.wrong(f"{name}={text[:60]!r}, wanted a number from 0 to 100")
    return value


def _capabilities(entry: Entry) -> tuple[str, ...]:
    named: list[Any] = entry.get("capability", list)
    unknown = [str(name) for name in named if name not in CAPABILITIES]
    if unknown or not named:
        raise entry.wrong(f"capability={str(named)[:60]}, wanted of: {', '.join(CAPABILITIES)}")
    return tuple(name for name in CAPABILITIES if name in named)
