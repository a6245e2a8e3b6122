"""Questions that depend on one another about what a prompt says, as DPG-Bench and DSG have them.

Both share a table (Davidsonian Scene Graphs, Cho et al. 2024): a line is a proposition of a prompt,
a question about it, and the propositions without which it makes no sense.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from PIL import Image

from janusflow.evaluation.core.reading import Entry
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.runner import conversation
from janusflow.evaluation.core.scores import Measurement, share_of_sums, sums_by_item
from janusflow.evaluation.core.tasks import NO_SYSTEM_PROMPT, Row, ToDraw
from janusflow.evaluation.drawing.judges import load_judge, own_device, require_package

COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
NO_PARENT = 0
MPLUG = "damo/mplug_visual-question-answering_coco_large_en"
OWN = "own"
OWN_PROMPT = "{question}\nAnswer yes or no."

Asker: TypeAlias = Callable[[Image.Image, Sequence[str]], Sequence[str]]
"""Answers questions about an image."""
Aggregation: TypeAlias = Callable[[Mapping[int, bool], Mapping[int, Sequence[int]]], float]
"""From what holds by itself, and every proposition's parents, to an image's score."""


@dataclass(kw_only=True)
class Prompt:
    """A prompt with its propositions."""

    name: str
    text: str
    propositions: list[dict[str, Any]]
    """id, parents, category and question of each; JSON."""

    @property
    def facts(self) -> dict[str, Any]:
        """What an item of this prompt keeps."""
        return {"item": self.name, "propositions": self.propositions}


def read_prompts(rows: Sequence[Entry]) -> list[Prompt]:
    """A table's prompts in the order of their first lines; parents are read as they are written.

    Raises:
        DataError: a prompt has two texts, or a number is none.
    """
    prompts: dict[str, Prompt] = {}
    for row in rows:
        name, text = row.get("item_id", str), row.get("text", str)
        prompt = prompts.setdefault(name, Prompt(name=name, text=text, propositions=[]))
        if text not in ("", prompt.text):
            raise row.wrong(f"text={text[:40]!r}, another than this item's first")
        prompt.propositions.append(
            {
                "id": read_numbers(row, "proposition_id")[0],
                "parents": read_numbers(row, "dependency"),
                "category": row.get("tuple", str).split("(")[0].split("-")[0].strip(),
                "question": row.get("question_natural_language", str),
            }
        )
    return list(prompts.values())


def read_numbers(row: Entry, name: str) -> list[int]:
    """Whole numbers between commas."""
    parts = [part.strip() for part in row.get(name, str).split(",")]
    if not all(part.isdigit() for part in parts):
        raise row.wrong(f"{name}={row.get(name, str)!r}, wanted whole numbers")
    return [int(part) for part in parts]


def is_yes(answer: str) -> bool:
    """The official comparison, in any case and with or without a period."""
    return answer.strip().rstrip(".").lower() == "yes"


def question_judge(
    options: TaskOptions, aggregate: Aggregation, *, benchmark: str
) -> Callable[[ToDraw, Image.Image], dict[str, Any]]:
    """What asks about a drawing, and makes a verdict of the answers.

    Args:
        options: name who answers: `own` is the model that is measured.
        aggregate: makes a score of the answers.
        benchmark: what messages call it.
    """
    own = options.judge == OWN
    ask = _own(options) if own else load_judge(options.judge, lambda _: _mplug(benchmark))

    def verdict(item: ToDraw, image: Image.Image) -> dict[str, Any]:
        propositions = item.facts["propositions"]
        answers = ask(image, [each["question"] for each in propositions])
        holds = {
            each["id"]: is_yes(answer) for each, answer in zip(propositions, answers, strict=True)
        }
        wrong = [each["question"] for each in propositions if not holds[each["id"]]]
        right = aggregate(holds, {each["id"]: each["parents"] for each in propositions})
        return {"right": right, "holds": list(holds.values()), "why": " ".join(wrong)}

    return verdict


def category_shares(rows: Sequence[Row], *, called: str = "{}") -> list[Measurement]:
    """Every category's share of propositions that hold by themselves.

    Args:
        rows: with `propositions` and whether each `holds`.
        called: the measurement's name, made of the category's.
    """
    categories: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        for each, holds in zip(row["propositions"], row["holds"], strict=True):
            categories.setdefault(each["category"], []).append((row["item"], float(holds)))
    return [
        share_of_sums(called.format(name), sums_by_item(of_prompts))
        for name, of_prompts in categories.items()
    ]


def mean_score(name: str, rows: Sequence[Row]) -> Measurement:
    """The mean of images' scores; its interval is over prompts."""
    return share_of_sums(name, sums_by_item((row["item"], float(row["right"])) for row in rows))


def _own(options: TaskOptions) -> Asker:
    """The model that is measured judges itself: for a glance, comparable with nothing."""

    def ask(image: Image.Image, questions: Sequence[str]) -> Sequence[str]:
        asked = [OWN_PROMPT.format(question=question) for question in questions]
        return options.model().answer(
            [conversation(image, question, NO_SYSTEM_PROMPT) for question in asked],
            max_new_tokens=8,
        )

    return ask


def _mplug(benchmark: str) -> Asker:
    """MPLUG-large through modelscope, which both benchmarks use; nobody has run this yet."""
    pipelines = require_package("modelscope.pipelines", what=f"{benchmark}'s judge")
    tasks = require_package("modelscope.utils.constant", what=f"{benchmark}'s judge").Tasks
    answer = pipelines.pipeline(
        tasks.visual_question_answering, model=MPLUG, device=str(own_device())
    )

    def ask(image: Image.Image, questions: Sequence[str]) -> Sequence[str]:
        return [answer({"image": image, "question": question})["text"] for question in questions]

    return ask
