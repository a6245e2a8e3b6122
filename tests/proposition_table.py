"""The table of questions that DPG-Bench and DSG share."""

import csv
from collections.abc import Sequence
from pathlib import Path

COLUMNS = (
    "item_id",
    "text",
    "keywords",
    "proposition_id",
    "dependency",
    "category_broad",
    "category_detailed",
    "tuple",
    "question_natural_language",
)


def row(item: str, number: int, dependency: str, kind: str, question: str) -> dict[str, str]:
    return {
        "item_id": item,
        "text": f'A long prompt, with a comma and "{item}".',
        "proposition_id": str(number),
        "dependency": dependency,
        "tuple": f"{kind} (thing)",
        "question_natural_language": question,
    }


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path
