"""The task `dpg`: long prompts, and questions about what they say; DPG-Bench (Hu et al. 2024).

The aggregation is that of dpg_bench/compute_dpg_bench.py of github.com/TencentQQGYLab/ELLA.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from PIL import Image

from janusflow.evaluation.judges import OFFICIAL, load_judge, require_package
from janusflow.evaluation.reading import Entry, identity, read_table
from janusflow.evaluation.registry import TaskOptions
from janusflow.evaluation.runner import conversation
from janusflow.evaluation.scores import Measurement, ratio, resampled
from janusflow.evaluation.tasks import NO_SYSTEM_PROMPT, Row, Task, ToDraw, first_of_each

COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
PICTURES_PER_PROMPT = 4
NO_PARENT = 0
MPLUG = "damo/mplug_visual-question-answering_coco_large_en"
OWN = "own"
OWN_PROMPT = "{question}\nAnswer yes or no."

Asker: TypeAlias = Callable[[Image.Image, Sequence[str]], Sequence[str]]
"""Answers questions about a picture."""


def dpg(options: TaskOptions) -> Task:
    """DPG-Bench's table (dpg_bench.csv), four pictures a prompt."""
    path = options.path("data")
    prompts = _prompts(read_table(path, COLUMNS, delimiter=","))
    items = [
        ToDraw(
            id=f"{index:05d}-{sample}",
            kind="prompt",
            prompt=prompt,
            seed=options.seed + PICTURES_PER_PROMPT * index + sample,
            facts={"item": name, "propositions": propositions},
        )
        for index, (name, (prompt, propositions)) in enumerate(prompts.items())
        for sample in range(PICTURES_PER_PROMPT)
    ]
    ask = _own(options) if options.judge == OWN else load_judge(options.judge, _official)

    def verdict(item: ToDraw, picture: Image.Image) -> dict[str, Any]:
        propositions = item.facts["propositions"]
        answers = ask(picture, [each["question"] for each in propositions])
        holds = {
            each["id"]: is_yes(answer) for each, answer in zip(propositions, answers, strict=True)
        }
        wrong = [each["question"] for each in propositions if not holds[each["id"]]]
        right = dependent_share(holds, {each["id"]: each["parents"] for each in propositions})
        return {"right": right, "holds": list(holds.values()), "why": " ".join(wrong)}

    limit = None if options.limit is None else PICTURES_PER_PROMPT * options.limit
    return Task(
        name="dpg",
        protocol="DPG-Bench: the mean share of propositions that hold together with all they "
        "depend on, four pictures a prompt; intervals are over prompts.",
        settings={
            **identity(path),
            "judge": options.judge or OFFICIAL,
            "seed": options.seed,
        },
        items=first_of_each(items, limit),
        judge=verdict,
        score=dpg_scores,
    )


def is_yes(answer: str) -> bool:
    """The official comparison, in any case and with or without a period."""
    return answer.strip().rstrip(".").lower() == "yes"


def dependent_share(holds: Mapping[int, bool], parents: Mapping[int, Sequence[int]]) -> float:
    """The share of propositions that hold, none counting whose parent does not.

    They are gone through in order, so that a parent that does not count takes its children along.
    """
    counts = dict(holds)
    for key, of_key in parents.items():
        counts[key] &= all(counts[parent] for parent in of_key if parent != NO_PARENT)
    return sum(counts.values()) / len(counts)


def dpg_scores(rows: Sequence[Row]) -> list[Measurement]:
    """Every category's share of propositions that hold by themselves, and the benchmark's score."""
    categories: dict[str, dict[str, list[float]]] = {}
    overall: dict[str, list[float]] = {}
    for row in rows:
        for each, holds in zip(row["propositions"], row["holds"], strict=True):
            prompts = categories.setdefault(each["category"], {})
            _count(prompts, row["item"], float(holds))
        _count(overall, row["item"], float(row["right"]))
    return [
        resampled(name, prompts.values(), lambda n: ratio(n[:, 0], n[:, 1]))
        for name, prompts in [*categories.items(), ("overall", overall)]
    ]


def _count(table: dict[str, list[float]], item: str, value: float) -> None:
    sums = table.setdefault(item, [0.0, 0.0])
    sums[0] += value
    sums[1] += 1.0


def _prompts(rows: Sequence[Entry]) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    prompts: dict[str, tuple[str, list[dict[str, Any]]]] = {}
    for row in rows:
        text = row.get("text", str)
        prompt, propositions = prompts.setdefault(row.get("item_id", str), (text, []))
        if text not in ("", prompt):
            raise row.wrong(f"text={text[:40]!r}, another than this item's first")
        propositions.append(
            {
                "id": _numbers(row, "proposition_id")[0],
                "parents": _numbers(row, "dependency"),
                "category": row.get("tuple", str).split("(")[0].split("-")[0].strip(),
                "question": row.get("question_natural_language", str),
            }
        )
    for row in rows:
        known = {NO_PARENT} | {each["id"] for each in prompts[row.get("item_id", str)][1]}
        if not known.issuperset(_numbers(row, "dependency")):
            raise row.wrong(
                f"dependency={row.get('dependency', str)!r}, no proposition of this item"
            )
    return prompts


def _numbers(row: Entry, name: str) -> list[int]:
    parts = [part.strip() for part in row.get(name, str).split(",")]
    if not all(part.isdigit() for part in parts):
        raise row.wrong(f"{name}={row.get(name, str)!r}, wanted whole numbers")
    return [int(part) for part in parts]


def _own(options: TaskOptions) -> Asker:
    """The model that is measured judges itself: for a glance, comparable with nothing."""

    def ask(picture: Image.Image, questions: Sequence[str]) -> Sequence[str]:
        asked = [OWN_PROMPT.format(question=question) for question in questions]
        return options.model().answer(
            [conversation(picture, question, NO_SYSTEM_PROMPT) for question in asked],
            max_new_tokens=8,
        )

    return ask


def _official(_: str) -> Asker:
    """MPLUG-large through modelscope; nobody has run this yet."""
    pipelines = require_package("modelscope.pipelines", what="DPG-Bench's judge")
    tasks = require_package("modelscope.utils.constant", what="DPG-Bench's judge").Tasks
    answer = pipelines.pipeline(tasks.visual_question_answering, model=MPLUG)

    def ask(picture: Image.Image, questions: Sequence[str]) -> Sequence[str]:
        return [answer({"image": picture, "question": question})["text"] for question in questions]

    return ask
