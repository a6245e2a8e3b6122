"""The tasks `vqav2`, `textvqa`, `gqa` and `chartqa`: questions with a short answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from janusflow.evaluation.reading import (
    Entry,
    entries_by_key,
    entries_of,
    identity,
    read_json,
    read_json_list,
    splits,
)
from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.scores import Measurement, mean, shares
from janusflow.evaluation.soft_accuracy import textvqa_accuracy, vqa_accuracy
from janusflow.evaluation.tasks import Row, Task, ToAnswer, first_of_each

SHORT = "\nAnswer the question using a single word or phrase."
"""What the authors' group adds to such a question (VLMEvalKit, vlm/janus.py)."""
CHARTQA_TOLERANCE = 0.05


def vqav2(options: TaskOptions) -> Task:
    """VQAv2's questions and annotations, e.g. v2_OpenEnded_mscoco_val2014_questions.json."""
    people = {
        entry.get("question_id", int): entry
        for entry in entries_of(read_json(options.path("answers")), "annotations")
    }
    file = read_json(options.path("data"))
    # Pictures are named after the split; test-dev is a part of test.
    split = file.get("data_subtype", str).replace("-dev", "")
    items = [
        _vqa_item(entry, people, options.path("pictures") / f"COCO_{split}_")
        for entry in entries_of(file, "questions")
    ]
    return Task(
        name="vqav2",
        protocol="VQAv2 by the official script: normalised answers, each person left out in turn.",
        settings=identity(options.path("data"), options.path("answers")),
        items=first_of_each(items, options.limit),
        judge=lambda item, answer: {"right": vqa_accuracy(answer, item.facts["people"])},
        score=_means,
    )


def textvqa(options: TaskOptions) -> Task:
    """TextVQA's questions with their answers, e.g. TextVQA_0.5.1_val.json."""
    items = [
        ToAnswer(
            id=str(entry.get("question_id", int)),
            kind="question",
            picture=entry.picture(options.path("pictures"), f"{entry.get('image_id', str)}.jpg"),
            question=entry.get("question", str) + SHORT,
            facts={"people": _texts(entry, "answers")},
        )
        for entry in entries_of(read_json(options.path("data")), "data")
    ]
    return Task(
        name="textvqa",
        protocol="TextVQA by MMF's evaluator; the model is shown no recognised text.",
        settings=identity(options.path("data")),
        items=first_of_each(items, options.limit),
        judge=lambda item, answer: {"right": textvqa_accuracy(answer, item.facts["people"])},
        score=_means,
    )


def gqa(options: TaskOptions) -> Task:
    """GQA's questions, e.g. testdev_balanced_questions.json."""
    items = []
    for key, entry in entries_by_key(read_json(options.path("data"))).items():
        types = Entry(where=entry.where, values=entry.get("types", dict))
        items.append(
            ToAnswer(
                id=key,
                kind=types.get("structural", str),
                picture=entry.picture(options.path("pictures"), f"{entry.get('imageId', str)}.jpg"),
                question=entry.get("question", str) + SHORT,
                facts={"wanted": entry.get("answer", str)},
            )
        )
    return Task(
        name="gqa",
        protocol="GQA: the answer is the wanted one, in any case and with or without a period.",
        settings=identity(options.path("data")),
        items=first_of_each(items, options.limit),
        judge=lambda item, answer: {"right": is_exact(answer, item.facts["wanted"])},
        score=lambda rows: shares([(row["kind"], row["right"]) for row in rows]),
    )


def chartqa(options: TaskOptions) -> Task:
    """ChartQA's questions: one file, or a folder with test_human.json and test_augmented.json."""
    files = splits(options.path("data"), "test_*.json")
    items = [
        ToAnswer(
            id=f"{path.stem}-{index}",
            kind=path.stem,
            picture=entry.picture(options.path("pictures"), entry.get("imgname", str)),
            question=entry.get("query", str) + SHORT,
            facts={"wanted": entry.get("label", str)},
        )
        for path in files
        for index, entry in enumerate(read_json_list(path))
    ]
    return Task(
        name="chartqa",
        protocol="ChartQA's relaxed accuracy: numbers within 5%, other answers in any case.",
        settings=identity(*files),
        items=first_of_each(items, options.limit),
        judge=lambda item, answer: {"right": is_about(answer, item.facts["wanted"])},
        score=lambda rows: shares([(row["kind"], row["right"]) for row in rows]),
    )


def is_exact(answer: str, wanted: str) -> bool:
    """GQA's comparison, after what everybody does to a sentence-like answer."""
    return answer.strip().rstrip(".").lower() == wanted.lower()


def is_about(answer: str, wanted: str) -> bool:
    """ChartQA's relaxed correctness (Masry et al. 2022): 5% of a number that is not 0."""
    answer = answer.strip()
    given, target = _number(answer), _number(wanted)
    if given is not None and target:
        return abs(given - target) / abs(target) <= CHARTQA_TOLERANCE
    return answer.lower() == wanted.lower()


def _number(text: str) -> float | None:
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def _vqa_item(entry: Entry, people: dict[int, Entry], prefix: Path) -> ToAnswer:
    key = entry.get("question_id", int)
    if key not in people:
        raise entry.wrong(f"question_id={key} without an annotation in --answers")
    annotation = people[key]
    answers = [each.get("answer", str) for each in entries_of(annotation, "answers")]
    return ToAnswer(
        id=str(key),
        kind=annotation.get("answer_type", str),
        picture=entry.picture(prefix.parent, f"{prefix.name}{entry.get('image_id', int):012d}.jpg"),
        question=entry.get("question", str) + SHORT,
        facts={"people": answers},
    )


def _texts(entry: Entry, name: str) -> list[str]:
    texts: list[Any] = entry.get(name, list)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise entry.wrong(f"{name}={str(texts)[:60]}, wanted texts")
    return texts


def _means(rows: Sequence[Row]) -> list[Measurement]:
    """The mean of every kind, and of all."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    by_kind = [mean(kind, [r["right"] for r in rows if r["kind"] == kind]) for kind in kinds]
    everything = mean("all", [row["right"] for row in rows])
    return [*by_kind, everything] if len(by_kind) > 1 else [everything]
