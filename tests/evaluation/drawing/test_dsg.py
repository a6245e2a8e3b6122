"""DSG's aggregation on answers whose score is known, and from its table to its scores."""

import re
from pathlib import Path

import pytest
from benchmark_runs import Scripted, measure, values
from proposition_table import row, write_table

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.drawing.propositions import dependent_share, valid_share


def test_a_question_counts_only_where_what_it_depends_on_is_answered_yes():
    parents = {1: [0], 2: [1], 3: [2], 4: [1, 3]}
    everything = dict.fromkeys(parents, True)
    assert valid_share(everything, parents) == 1.0
    assert valid_share({**everything, 4: False}, parents) == pytest.approx(3 / 4)
    # Without 1 neither it nor 2 and 4 count. 3 does: its own parent was answered yes.
    assert valid_share({**everything, 1: False}, parents) == pytest.approx(1 / 4)
    # That is where DPG-Bench differs: there 2 takes 3 along.
    assert dependent_share({**everything, 1: False}, parents) == 0.0


def test_parents_may_come_later_and_be_the_question_itself():
    parents = {1: [2], 2: [0], 3: [3]}
    assert valid_share({1: True, 2: False, 3: True}, parents) == pytest.approx(1 / 3)


def test_a_parent_that_is_no_question_was_never_answered_yes():
    """As for tifa160_134 of the official table, whose first question is missing."""
    assert valid_share({2: True, 3: True}, {2: [1], 3: [0]}) == pytest.approx(1 / 2)


ROWS = [
    row("whoops_5", 1, "0", "entity - whole", "Is there a cat?"),
    row("whoops_5", 2, "1", "attribute - color", "Is the cat red?"),
    row("whoops_5", 3, "1,2", "relation - spatial", "Is the cat left?"),
    row("midjourney_0", 1, "0", "entity - whole", "Is there a dog?"),
    row("diffusiondb_7", 1, "0", "entity - whole", "Is there a cow?"),
]
ANSWERS = {"cat?": "yes", "red": "no", "left": "yes", "dog": "yes", "cow": "no"}


def test_dsg_is_the_mean_of_prompts_for_every_kind_of_them(tmp_path: Path):
    data = write_table(tmp_path / "dsg-1k-anns.csv", ROWS)
    model = Scripted(ANSWERS)
    report = measure("dsg", model, data=data, judge="own")
    assert values(report) == pytest.approx(
        {
            "defying prompts": 1 / 3,
            "real_user prompts": 1 / 2,
            "entity questions": 2 / 3,
            "attribute questions": 0.0,
            "relation questions": 1.0,
            "overall": (1 / 3 + 1 + 0) / 3,
        }
    )
    assert [row["id"] for row in report.rows] == ["whoops_5", "midjourney_0", "diffusiondb_7"]
    assert [text for text, _ in model.prompted] == [
        ROWS[0]["text"],
        ROWS[3]["text"],
        ROWS[4]["text"],
    ]


def test_the_official_tables_broken_dependency_frees_the_whole_prompt(tmp_path: Path):
    """The official script keeps no dependency of a prompt where one of them is "5, right"."""
    parted = [ROWS[0], ROWS[1], {**ROWS[2], "dependency": "1, right"}]
    data = write_table(tmp_path / "dsg-1k-anns.csv", parted)
    report = measure("dsg", Scripted({**ANSWERS, "cat?": "no"}), data=data, judge="own")
    assert values(report)["overall"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dependency": "right"}, "line 6: got dependency='right', wanted whole numbers"),
        ({"dependency": ""}, "line 6: got dependency='', wanted whole numbers"),
        ({"item_id": "cats_1"}, "line 6: got item_id='cats_1', wanted SOURCE_NUMBER of: tifa160"),
        ({"item_id": "vrd_../x"}, "line 6: got item_id='vrd_../x'"),
    ],
)
def test_a_wrong_line_is_named(change: dict[str, str], message: str, tmp_path: Path):
    data = write_table(tmp_path / "dsg-1k-anns.csv", [*ROWS[:4], {**ROWS[4], **change}])
    with pytest.raises(DataError, match=re.escape(message)):
        measure("dsg", Scripted(ANSWERS), data=data, judge="own")


def test_the_official_judge_is_one_line_where_it_is_not_installed(tmp_path: Path):
    data = write_table(tmp_path / "dsg-1k-anns.csv", ROWS)
    with pytest.raises(ConfigError, match="DSG's judge needs modelscope"):
        measure("dsg", Scripted(), data=data)
