"""The tasks `pope` and `mme`: questions that are answered yes or no."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from janusflow.config.errors import DataError
from janusflow.evaluation.open_questions import SHORT
from janusflow.evaluation.reading import identity, read_json_lines, read_values, splits
from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.scores import Measurement, Statistic, ratio, resampled, stratified
from janusflow.evaluation.tasks import Row, Task, ToAnswer, first_of_each

YES_NO = ("yes", "no")
PERCEPTION = (
    "existence",
    "count",
    "position",
    "color",
    "posters",
    "celebrity",
    "scene",
    "landmark",
    "artwork",
    "OCR",
)
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")


def pope(options: TaskOptions) -> Task:
    """POPE's questions: one split's file, or a folder with all three."""
    files = splits(options.path("data"), "*pope_*.json")
    items = [
        ToAnswer(
            id=f"{path.stem}-{index}",
            kind=path.stem.rpartition("_")[2],
            picture=entry.picture(options.path("pictures"), entry.get("image", str)),
            question=entry.get("text", str).replace(" Please answer yes or no.", "") + SHORT,
            facts={"wanted": entry.one_of("label", YES_NO)},
        )
        for path in files
        for index, entry in enumerate(read_json_lines(path))
    ]

    def judge(item: ToAnswer, answer: str) -> dict[str, object]:
        said = read_pope(answer)
        return {"right": said == item.facts["wanted"], "said": said}

    return Task(
        name="pope",
        protocol="POPE by the official script; the paper's number is of the random split alone.",
        settings=identity(*files),
        items=first_of_each(items, options.limit),
        judge=judge,
        score=pope_scores,
    )


def read_pope(answer: str) -> str:
    """Yes unless the first sentence says no or not (POPE's evaluate.py)."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def pope_scores(rows: Sequence[Row]) -> list[Measurement]:
    """Accuracy, precision, recall, F1 and the share of yes, of every split and of all."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    groups = [(kind, [row for row in rows if row["kind"] == kind]) for kind in kinds]
    if len(groups) > 1:
        groups.append(("all", list(rows)))
    return [
        resampled(f"{kind} {name}", [_confusion(row) for row in group], statistic)
        for kind, group in groups
        for name, statistic in POPE_STATISTICS.items()
    ]


def _confusion(row: Row) -> list[float]:
    """True and false yes, true and false no."""
    says_yes, is_right = row["said"] == "yes", row["right"]
    return [
        float(says_yes and is_right),
        float(says_yes and not is_right),
        float(not says_yes and is_right),
        float(not says_yes and not is_right),
    ]


POPE_STATISTICS: dict[str, Statistic] = {
    "accuracy": lambda n: ratio(n[:, 0] + n[:, 2], n.sum(1)),
    "precision": lambda n: ratio(n[:, 0], n[:, 0] + n[:, 1]),
    "recall": lambda n: ratio(n[:, 0], n[:, 0] + n[:, 3]),
    "F1": lambda n: ratio(2 * n[:, 0], 2 * n[:, 0] + n[:, 1] + n[:, 3]),
    "yes": lambda n: ratio(n[:, 0] + n[:, 1], n.sum(1)),
}


def mme(options: TaskOptions) -> Task:
    """MME's lists of questions: a folder of SUBTASK.txt, as in its eval_tool."""
    folder = options.path("data")
    found = [folder / f"{name}.txt" for name in (*PERCEPTION, *COGNITION)]
    files = [path for path in found if path.is_file()]
    if not files:
        raise DataError(f"--data {folder}: no existence.txt or other subtask of MME in it.")
    items = [item for path in files for item in _mme_items(path, options.path("pictures"))]

    def judge(item: ToAnswer, answer: str) -> dict[str, object]:
        said = read_mme(answer)
        return {"right": said == item.facts["wanted"], "said": said}

    return Task(
        name="mme",
        protocol="MME by the official script: 100 accuracy + 100 accuracy+ (both questions of a "
        "picture right) of every subtask, summed.",
        settings=identity(*files),
        # Pairs stay whole.
        items=first_of_each(items, None if options.limit is None else 2 * options.limit),
        judge=judge,
        score=mme_scores,
    )


def _mme_items(path: Path, pictures: Path) -> list[ToAnswer]:
    folder = pictures / path.stem
    if (folder / "images").is_dir():
        folder = folder / "images"
    items = []
    for entry in read_values(path, ("picture", "question", "answer")):
        name, question, answer = entry.values.values()
        wanted = answer.strip().lower()
        if wanted not in YES_NO:
            raise entry.wrong(f"answer={answer!r}, wanted Yes or No")
        if len(items) % 2 and items[-1].facts["picture"] != name:
            raise entry.wrong(f"picture={name!r} after one question about another")
        items.append(
            ToAnswer(
                id=f"{path.stem}-{len(items)}",
                kind=path.stem,
                picture=entry.picture(folder, name),
                question=question + SHORT,
                facts={"picture": name, "wanted": wanted},
            )
        )
    if len(items) % 2:
        raise DataError(f"{path}, line {len(items)}: got one question, wanted two of a picture.")
    return items


def read_mme(answer: str) -> str:
    """Yes, no or other, by the first four letters (MME's calculation.py)."""
    said = answer.strip().lower()
    return next((word for word in YES_NO if said == word or word in said[:4]), "other")


def mme_scores(rows: Sequence[Row]) -> list[Measurement]:
    """Accuracy, accuracy+ and their sum for every subtask, and the sums of both groups."""
    pairs: dict[str, list[list[float]]] = {}
    for first, second in zip(rows[::2], rows[1::2], strict=True):
        num_right = first["right"] + second["right"]
        pairs.setdefault(first["kind"], []).append([num_right / 2, float(num_right == 2), 1.0])
    scores = []
    for kind, table in pairs.items():
        scores += [
            resampled(f"{kind} accuracy", table, lambda n: ratio(n[:, 0], n[:, 2])),
            resampled(f"{kind} accuracy+", table, lambda n: ratio(n[:, 1], n[:, 2])),
            resampled(kind, table, mme_sum, is_share=False),
        ]
    for name, group in (("perception", PERCEPTION), ("cognition", COGNITION)):
        tables = {kind: table for kind, table in pairs.items() if kind in group}
        if tables:
            scores.append(stratified(name, tables, mme_sum, is_share=False))
    return scores


def mme_sum(sums: Float[np.ndarray, "b k"]) -> Float[np.ndarray, " b"]:
    """Points of subtasks: three columns each (half of the right answers, right pairs, pairs)."""
    right, both, number = sums[:, 0::3], sums[:, 1::3], sums[:, 2::3]
    return 100 * (ratio(right, number) + ratio(both, number)).sum(1)
