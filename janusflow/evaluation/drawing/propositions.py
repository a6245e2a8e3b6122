"""The tasks `dpg` and `dsg`: questions that depend on one another about what a prompt says.

Both benchmarks share a table (Davidsonian Scene Graphs, Cho et al. 2024): a line is a proposition
of a prompt, a question about it, and the propositions without which it makes no sense. DPG-Bench's
aggregation is that of dpg_bench/compute_dpg_bench.py of github.com/TencentQQGYLab/ELLA (Hu et al.
2024), DSG-1k's kinds and aggregation are those of github.com/j-min/DSG.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from PIL import Image

from janusflow.evaluation.core.reading import Entry, identity, read_table
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.runner import conversation
from janusflow.evaluation.core.scores import Measurement, share_of_sums, sums_by_item
from janusflow.evaluation.core.tasks import NO_SYSTEM_PROMPT, Row, Task, ToDraw, first_of_each
from janusflow.evaluation.drawing.judges import (
    OFFICIAL,
    drawings_of,
    load_judge,
    own_device,
    require_package,
)

COLUMNS = ("item_id", "text", "proposition_id", "dependency", "tuple", "question_natural_language")
NO_PARENT = 0
MPLUG = "damo/mplug_visual-question-answering_coco_large_en"
OWN = "own"
OWN_PROMPT = "{question}\nAnswer yes or no."
SOURCES = {
    "tifa160": "tifa",
    "stanford_paragraph": "paragraph",
    "localized_narratives": "paragraph",
    "vrd": "relation",
    "countbench": "count",
    "diffusiondb": "real_user",
    "midjourney": "real_user",
    "posescript": "pose",
    "whoops": "defying",
    "drawtext": "text",
}
"""Where an item's prompt is from, as its id begins, and what the benchmark calls that kind."""
NUMBER_AND_WORD = re.compile(r"\d+(\s*,\s*\d+)*\s*,\s*[A-Za-z][A-Za-z ]*")

Asker: TypeAlias = Callable[[Image.Image, Sequence[str]], Sequence[str]]
"""Answers questions about an image."""
Aggregation: TypeAlias = Callable[[Mapping[int, bool], Mapping[int, Sequence[int]]], float]
"""From what holds by itself, and every proposition's parents, to an image's score."""


def dpg(options: TaskOptions) -> Task:
    """DPG-Bench's table (dpg_bench.csv), four images a prompt."""
    table = read_table(options.needed("data"), COLUMNS)
    _require_parents(table)
    return Task(
        name="dpg",
        protocol="DPG-Bench: the mean share of propositions that hold together with all they "
        "depend on, four images a prompt; intervals are over prompts.",
        settings=_settings(options),
        items=drawings_of([("prompt", p.text, p.facts) for p in read_prompts(table)], options),
        judge=question_judge(options, dependent_share, benchmark="DPG-Bench"),
        score=lambda rows: [*category_shares(rows), mean_score("overall", rows)],
    )


def dsg(options: TaskOptions) -> Task:
    """DSG-1k's table (dsg-1k-anns.csv), an image a prompt."""
    table = read_table(options.needed("data"), COLUMNS)
    kinds = {row.get("item_id", str): _kind(row) for row in table}
    items = [
        ToDraw(
            id=prompt.facts["item"],
            kind=kinds[prompt.facts["item"]],
            prompt=prompt.text,
            seed=options.seed + index,
            facts=prompt.facts,
        )
        for index, prompt in enumerate(read_prompts(_with_dependencies(table)))
    ]
    return Task(
        name="dsg",
        protocol="DSG-1k: the mean share of questions that are answered yes together with those "
        "they depend on, an image a prompt; intervals are over prompts.",
        settings=_settings(options),
        items=first_of_each(items, options.limit),
        judge=question_judge(options, valid_share, benchmark="DSG"),
        score=dsg_scores,
    )


def _settings(options: TaskOptions) -> dict[str, Any]:
    judge = options.judge or OFFICIAL
    return {**identity(options.needed("data")), "judge": judge, "seed": options.seed}


class Prompt(NamedTuple):
    """A prompt with its propositions."""

    text: str
    facts: dict[str, Any]
    """`item`, its name, and `propositions`: id, parents, category and question of each; JSON."""


def read_prompts(rows: Sequence[Entry]) -> list[Prompt]:
    """A table's prompts in the order of their first lines; parents are read as they are written.

    Raises:
        DataError: a prompt has two texts, or a number is none.
    """
    prompts: dict[str, Prompt] = {}
    for row in rows:
        name, text = row.get("item_id", str), row.get("text", str)
        prompt = prompts.setdefault(name, Prompt(text, {"item": name, "propositions": []}))
        if text not in ("", prompt.text):
            raise row.wrong(f"text={text[:40]!r}, another than this item's first")
        prompt.facts["propositions"].append(
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


def dependent_share(holds: Mapping[int, bool], parents: Mapping[int, Sequence[int]]) -> float:
    """The share of propositions that hold, none counting whose parent does not.

    They are gone through in order, so that a parent that does not count takes its children along.
    Compared with TencentQQGYLab/ELLA@3c228f1: equal on random tables and answers.
    """
    counts = dict(holds)
    for key, of_key in parents.items():
        counts[key] &= all(counts[parent] for parent in of_key if parent != NO_PARENT)
    return sum(counts.values()) / len(counts)


def valid_share(holds: Mapping[int, bool], parents: Mapping[int, Sequence[int]]) -> float:
    """The share of questions that are answered yes, as are all that they depend on.

    Only answers are asked of parents, not whether they count themselves; one that is no question
    of this prompt was never answered yes. Compared with j-min/DSG@7330119: equal on random answers
    and, with its table, on mPLUG's answers that it publishes.
    """
    counts = [
        holds[key]
        and all(holds.get(parent, False) for parent in parents[key] if parent != NO_PARENT)
        for key in holds
    ]
    return sum(counts) / len(counts)


def is_yes(answer: str) -> bool:
    """The official comparison, in any case and with or without a period."""
    return answer.strip().rstrip(".").lower() == "yes"


def question_judge(
    options: TaskOptions, aggregate: Aggregation, *, benchmark: str
) -> Callable[[ToDraw, Image.Image], dict[str, Any]]:
    """What asks about a drawing, and makes a verdict of the answers by `aggregate`."""
    own = options.judge == OWN
    ask = _own(options) if own else load_judge(options.judge, lambda: _mplug(benchmark))

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
    """Every category's share of propositions that hold by themselves."""
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


def dsg_scores(rows: Sequence[Row]) -> list[Measurement]:
    """The benchmark's score for every kind of prompt and for all, and kinds of questions."""
    kinds = dict.fromkeys(row["kind"] for row in rows)
    return [
        *(
            mean_score(f"{kind} prompts", [row for row in rows if row["kind"] == kind])
            for kind in kinds
        ),
        *category_shares(rows, called="{} questions"),
        mean_score("overall", rows),
    ]


def _require_parents(rows: Sequence[Entry]) -> None:
    known: dict[str, set[int]] = {}
    for row in rows:
        numbers = known.setdefault(row.get("item_id", str), {NO_PARENT})
        numbers.update(read_numbers(row, "proposition_id"))
    for row in rows:
        if not known[row.get("item_id", str)].issuperset(read_numbers(row, "dependency")):
            raise row.wrong(
                f"dependency={row.get('dependency', str)!r}, no proposition of this item"
            )


def _kind(row: Entry) -> str:
    item = row.get("item_id", str)
    source, _, number = item.rpartition("_")
    if source not in SOURCES or not number.isdigit():
        raise row.wrong(f"item_id={item[:60]!r}, wanted SOURCE_NUMBER of: {', '.join(SOURCES)}")
    return SOURCES[source]


def _with_dependencies(table: Sequence[Entry]) -> list[Entry]:
    """The table as the official script reads it.

    Of eight prompts of the official table a dependency says a number and a word ("5, right"): there
    the script keeps no dependency of the whole prompt.
    """
    broken = {
        row.get("item_id", str)
        for row in table
        if NUMBER_AND_WORD.fullmatch(row.get("dependency", str).strip())
    }
    return [
        Entry(where=row.where, values={**row.values, "dependency": str(NO_PARENT)})
        if row.get("item_id", str) in broken
        else row
        for row in table
    ]


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
