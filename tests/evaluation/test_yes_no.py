"""POPE and MME, from the official files to numbers worked out by hand."""

import json
from pathlib import Path

import pytest
from benchmark_runs import Scripted, measure, paint, values

from janusflow.config.errors import DataError
from janusflow.evaluation.open_questions import SHORT
from janusflow.evaluation.yes_no import mme_scores, pope_scores, read_mme, read_pope


def write_pope(path: Path, labels: str) -> None:
    lines = [
        json.dumps({"question_id": i, "image": "a.jpg", "text": f"Is {i} there?", "label": label})
        for i, label in enumerate(labels.split())
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_pope_gives_the_five_numbers_of_every_split(tmp_path: Path):
    paint(tmp_path, "a.jpg")
    write_pope(tmp_path / "coco_pope_random.json", "yes yes no no")
    write_pope(tmp_path / "coco_pope_popular.json", "no no no no")
    model = Scripted(
        {"Is 0": "Yes", "Is 1": "No, it is not.", "Is 2": "Yes.", "Is 3": "There is no 3"}
    )
    found = values(measure("pope", model, data=tmp_path, pictures=tmp_path))
    # Random: one each of true yes, false no, false yes, true no. Popular: two false yes.
    wanted = {"accuracy": 0.5, "precision": 0.5, "recall": 0.5, "F1": 0.5, "yes": 0.5}
    assert {name: found[f"random {name}"] for name in wanted} == wanted
    assert found["popular accuracy"] == 0.5
    assert found["popular precision"] == found["popular F1"] == 0.0
    assert found["all precision"] == 0.25
    assert found["all F1"] == pytest.approx(2 / 6)
    assert model.asked[0] == f"Is 0 there?{SHORT}"


def test_pope_numbers_are_those_of_their_definitions():
    """Ten items: 4 true yes, 1 false yes, 3 true no, 2 false no."""
    cases = [("yes", True)] * 4 + [("yes", False)] + [("no", True)] * 3 + [("no", False)] * 2
    rows = [{"kind": "random", "said": said, "right": right} for said, right in cases]
    found = {score.name: score.value for score in pope_scores(rows)}
    precision, recall = 4 / 5, 4 / 6
    assert found == pytest.approx(
        {
            "random accuracy": 0.7,
            "random precision": precision,
            "random recall": recall,
            "random F1": 2 * precision * recall / (precision + recall),
            "random yes": 0.5,
        }
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("No", "no"),
        ("no.", "no"),
        ("No, there is none", "no"),
        ("I do not see it", "no"),
        ("Maybe. No", "yes"),
        ("NO", "yes"),
        ("nothing", "yes"),
    ],
)
def test_popes_reading_is_the_official_one(answer: str, said: str):
    assert read_pope(answer) == said


def test_a_wrong_line_of_pope_is_named(tmp_path: Path):
    paint(tmp_path, "a.jpg")
    path = tmp_path / "coco_pope_random.json"
    write_pope(path, "yes maybe")
    with pytest.raises(DataError, match=r"random\.json, line 2: got label='maybe'"):
        measure("pope", Scripted(), data=path, pictures=tmp_path)
    path.write_text('{"image": "a.jpg"\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"random\.json, line 1: got no JSON"):
        measure("pope", Scripted(), data=path, pictures=tmp_path)


@pytest.fixture
def mme(tmp_path: Path) -> Path:
    (tmp_path / "existence.txt").write_text(
        "a.jpg\tIs e1 there? Please answer yes or no.\tYes\n"
        "a.jpg\tIs e2 there? Please answer yes or no.\tNo\n"
        "b.jpg\tIs e3 there? Please answer yes or no.\tYes\n"
        "b.jpg\tIs e4 there? Please answer yes or no.\tNo\n",
        encoding="utf-8",
    )
    (tmp_path / "code_reasoning.txt").write_text(
        "c.png\tIs c1 so? Please answer yes or no.\tYes\n"
        "c.png\tIs c2 so? Please answer yes or no.\tNo\n",
        encoding="utf-8",
    )
    paint(tmp_path, "existence/a.jpg", "existence/b.jpg", "code_reasoning/images/c.png")
    return tmp_path


def test_mme_counts_pairs_and_sums_subtasks(mme: Path):
    answers = {"e1": "Yes", "e2": "No.", "e3": "yes", "e4": "Yes", "c1": "Maybe", "c2": "No"}
    found = values(measure("mme", Scripted(answers), data=mme, pictures=mme))
    assert found["existence accuracy"] == 0.75
    assert found["existence accuracy+"] == 0.5
    assert found["existence"] == found["perception"] == 125.0
    assert found["code_reasoning"] == found["cognition"] == 50.0


def test_mmes_sum_is_of_subtasks_however_many_pictures_they_have():
    """A subtask of one picture counts as much as one of a hundred: 200 + 0."""

    def rows(kind: str, number: int, *, right: bool) -> list[dict[str, object]]:
        return [{"kind": kind, "right": right}] * 2 * number

    scores = mme_scores([*rows("count", 1, right=True), *rows("OCR", 100, right=False)])
    perception = next(score for score in scores if score.name == "perception")
    assert perception.value == 200.0
    assert perception.interval == (200.0, 200.0)


def test_a_limit_keeps_pairs_whole(mme: Path):
    answers = {"e1": "yes", "e2": "no", "c1": "yes", "c2": "no"}
    report = measure("mme", Scripted(answers), limit=1, data=mme, pictures=mme)
    assert len(report.rows) == 4
    assert values(report)["perception"] == 200.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg\tIs it?\tPerhaps\n", "line 5: got answer='Perhaps'"),
        ("a.jpg\tIs it?\n", "line 5: got 2 values"),
        ("a.jpg\tIs it?\tYes\n", "line 5: got one question, wanted two"),
        ("a.jpg\tIs it?\tYes\nb.jpg\tIs it?\tNo\n", "line 6: got picture='b.jpg'"),
        ("nosuch.jpg\tIs it?\tYes\n", r"line 5: there is no picture .*nosuch\.jpg"),
    ],
)
def test_a_wrong_line_of_mme_is_named(line: str, message: str, mme: Path):
    with (mme / "existence.txt").open("a", encoding="utf-8") as file:
        file.write(line)
    with pytest.raises(DataError, match=message):
        measure("mme", Scripted(), data=mme, pictures=mme)


@pytest.mark.parametrize(
    ("answer", "said"),
    [("Yes", "yes"), ("no, it", "no"), ("Nope", "no"), ("It is not", "other"), ("", "other")],
)
def test_mmes_reading_is_the_official_one(answer: str, said: str):
    assert read_mme(answer) == said
