"""The task `dsg`: 1060 prompts of ten sources, and questions about what they say (DSG-1k).

Format, categories and aggregation are those of github.com/j-min/DSG (Cho et al. 2024).
"""

import re
from collections.abc import Mapping, Sequence

from janusflow.evaluation.core.reading import Entry, read_table
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.scores import Measurement
from janusflow.evaluation.core.tasks import Row, Task, ToDraw, first_of_each
from janusflow.evaluation.drawing.judges import settings_of
from janusflow.evaluation.drawing.propositions import (
    COLUMNS,
    NO_PARENT,
    category_shares,
    mean_score,
    question_judge,
    read_prompts,
)

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


def dsg(options: TaskOptions) -> Task:
    """DSG-1k's table (dsg-1k-anns.csv), an image a prompt."""
    table = read_table(options.path("data"), COLUMNS)
    kinds = {row.get("item_id", str): _kind(row) for row in table}
    items = [
        ToDraw(
            id=prompt.name,
            kind=kinds[prompt.name],
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
        settings=settings_of(options),
        items=first_of_each(items, options.limit),
        judge=question_judge(options, valid_share, benchmark="DSG"),
        score=dsg_scores,
    )


def valid_share(holds: Mapping[int, bool], parents: Mapping[int, Sequence[int]]) -> float:
    """The share of questions that are answered yes, as are all that they depend on.

    Only answers are asked of parents, not whether they count themselves; one that is no question
    of this prompt was never answered yes.
    """
    counts = [
        holds[key]
        and all(holds.get(parent, False) for parent in parents[key] if parent != NO_PARENT)
        for key in holds
    ]
    return sum(counts) / len(counts)


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
