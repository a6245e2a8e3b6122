"""What DPG-Bench and DSG share: their table, what a yes is, and shares by category."""

import re
from pathlib import Path

import pytest
from proposition_table import row, write_table

from janusflow.config.errors import DataError
from janusflow.evaluation.core.reading import read_table
from janusflow.evaluation.drawing.propositions import (
    COLUMNS,
    category_shares,
    is_yes,
    mean_score,
    read_prompts,
)


@pytest.mark.parametrize(
    ("answer", "wanted"), [("yes", True), ("Yes.", True), ("no", False), ("yes, it is", False)]
)
def test_yes_is_yes_alone(answer: str, wanted: bool):
    assert is_yes(answer) == wanted


def test_a_prompt_is_its_lines_even_where_they_do_not_lie_together(tmp_path: Path):
    first, other = row("a1", 1, "0", "entity - whole", "?"), row("b2", 1, "0", "global - -", "?")
    second = row("a1", 2, "1, 0", "attribute - color", "!")
    table = write_table(tmp_path / "table.csv", [first, other, second])
    one, two = read_prompts(read_table(table, COLUMNS))
    assert (one.facts["item"], one.text, two.facts["item"]) == ("a1", first["text"], "b2")
    assert [each["parents"] for each in one.facts["propositions"]] == [[0], [1, 0]]
    assert [each["category"] for each in one.facts["propositions"]] == ["entity", "attribute"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dependency": "x"}, "line 3: got dependency='x', wanted whole numbers"),
        ({"proposition_id": ""}, "line 3: got proposition_id='', wanted whole numbers"),
        ({"text": "Another"}, "line 3: got text='Another', another than this item's first"),
    ],
)
def test_a_wrong_line_is_named(change: dict[str, str], message: str, tmp_path: Path):
    right = row("a1", 1, "0", "entity - whole", "?")
    table = write_table(tmp_path / "table.csv", [right, {**right, **change}])
    with pytest.raises(DataError, match=re.escape(message)):
        read_prompts(read_table(table, COLUMNS))


def test_shares_count_propositions_and_the_mean_counts_images():
    thing, colour = {"category": "entity"}, {"category": "attribute"}
    rows = [
        {"item": "a", "propositions": [thing, colour], "holds": [True, False], "right": 0.5},
        {"item": "b", "propositions": [thing], "holds": [False], "right": 0.0},
        {"item": "c", "propositions": [thing], "holds": [True], "right": 1.0},
    ]
    assert [(s.name, s.value) for s in category_shares(rows)] == [
        ("entity", pytest.approx(2 / 3)),
        ("attribute", 0.0),
    ]
    assert mean_score("overall", rows).value == pytest.approx(0.5)
