"""The task `dpg`: long prompts, and questions about what they say; DPG-Bench (Hu et al. 2024).

The aggregation is that of dpg_bench/compute_dpg_bench.py of github.com/TencentQQGYLab/ELLA.
"""

from collections.abc import Mapping, Sequence

from janusflow.evaluation.core.reading import Entry, read_table
from janusflow.evaluation.core.registry import TaskOptions
from janusflow.evaluation.core.tasks import Task, ToDraw, first_of_each
from janusflow.evaluation.drawing.judges import settings_of
from janusflow.evaluation.drawing.propositions import (
    COLUMNS,
    NO_PARENT,
    category_shares,
    mean_score,
    question_judge,
    read_numbers,
    read_prompts,
)

IMAGES_PER_PROMPT = 4


def dpg(options: TaskOptions) -> Task:
    """DPG-Bench's table (dpg_bench.csv), four images a prompt."""
    table = read_table(options.path("data"), COLUMNS)
    prompts = read_prompts(table)
    _require_parents(table)
    items = [
        ToDraw(
            id=f"{index:05d}-{sample}",
            kind="prompt",
            prompt=prompt.text,
            seed=options.seed + IMAGES_PER_PROMPT * index + sample,
            facts=prompt.facts,
        )
        for index, prompt in enumerate(prompts)
        for sample in range(IMAGES_PER_PROMPT)
    ]
    limit = None if options.limit is None else IMAGES_PER_PROMPT * options.limit
    return Task(
        name="dpg",
        protocol="DPG-Bench: the mean share of propositions that hold together with all they "
        "depend on, four images a prompt; intervals are over prompts.",
        settings=settings_of(options),
        items=first_of_each(items, limit),
        judge=question_judge(options, dependent_share, benchmark="DPG-Bench"),
        score=lambda rows: [*category_shares(rows), mean_score("overall", rows)],
    )


def dependent_share(holds: Mapping[int, bool], parents: Mapping[int, Sequence[int]]) -> float:
    """The share of propositions that hold, none counting whose parent does not.

    They are gone through in order, so that a parent that does not count takes its children along.
    """
    counts = dict(holds)
    for key, of_key in parents.items():
        counts[key] &= all(counts[parent] for parent in of_key if parent != NO_PARENT)
    return sum(counts.values()) / len(counts)


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
