"""MM-Vet: answers as the official evaluator takes them, and its grades as it sums them up."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import Scripted, measure, paint, values

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.mmvet import STEP_BY_STEP
from janusflow.evaluation.report import save
from janusflow.evaluation.runner import Report, RunFiles

QUESTIONS = {
    "v1_0": ("What is x?", "-1<AND>-5", ["ocr", "math"]),
    "v1_1": ("Which car?", "a van", ["rec"]),
    "v1_2": ("Why is it funny?", "…", ["gen", "rec", "know"]),
}
ANSWERS = {"What is x?": "x = -1", "Which car?": "A van.", "Why is": "그냥 “so”"}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def mmvet(tmp_path: Path) -> dict[str, Any]:
    content = {
        id: {
            "imagename": f"{id}.png",
            "imagesource": "http://example.org",
            "question": question,
            "answer": answer,
            "capability": capabilities,
        }
        for id, (question, answer, capabilities) in QUESTIONS.items()
    }
    paint(tmp_path / "images", *(f"{id}.png" for id in QUESTIONS))
    return {
        "data": write(tmp_path / "mm-vet.json", content),
        "pictures": tmp_path / "images",
        "files": RunFiles(report=tmp_path / "out.json"),
    }


def run(mmvet: dict[str, Any], **options: Any) -> Report:
    model = Scripted(ANSWERS, system_prompt=STEP_BY_STEP)
    return measure("mmvet", model, **mmvet, **options)


def grade_file(path: Path, scores: dict[str, list[float]]) -> str:
    """As mm-vet_evaluator.py writes it."""
    content = {
        id: {
            "model": ["gpt-4-0613"] * len(grades),
            "content": [str(g) for g in grades],
            "score": grades,
        }
        for id, grades in scores.items()
    }
    return str(write(path, content))


def test_answers_are_written_as_the_evaluator_takes_them(mmvet: dict[str, Any], tmp_path: Path):
    report = run(mmvet)
    save(report, mmvet["files"])
    written = json.loads((tmp_path / "out.answers.json").read_text(encoding="utf-8"))
    assert written == {"v1_0": "x = -1", "v1_1": "A van.", "v1_2": "그냥 “so”"}
    assert list(written) == list(QUESTIONS)
    assert report.scores == []


def test_grades_are_summed_up_as_the_evaluator_does_without_answering_anew(
    mmvet: dict[str, Any], tmp_path: Path
):
    run(mmvet)
    grades: dict[str, list[float]] = {
        "v1_0": [0.5, 0.7],
        "v1_1": [1.0, 1.0],
        "v1_2": [0.0, 0.1],
        "v1_9": [1.0],
    }
    judge = grade_file(tmp_path / "grades.json", grades)
    report = measure("mmvet", Scripted(), **mmvet, judge=judge)
    assert values(report) == pytest.approx(
        {
            "rec": (1.0 + 0.05) / 2,
            "ocr": 0.6,
            "know": 0.05,
            "gen": 0.05,
            "math": 0.6,
            "total": (0.6 + 1.0 + 0.05) / 3,
        }
    )
    assert {score.name: score.num_items for score in report.scores}["rec"] == 2


def test_the_evaluators_table_is_read_as_it_is(mmvet: dict[str, Any], tmp_path: Path):
    table = tmp_path / "cap-score.csv"
    head = ",rec,ocr,know,gen,spat,math,total,std,runs\n"
    table.write_text(f'{head}out,38.2,24.4,21.0,22.6,25.7,7.7,33.4,0.1,"[33.4]"\n')
    report = run(mmvet, judge=str(table))
    assert values(report)["total"] == pytest.approx(0.334)
    assert values(report)["math"] == pytest.approx(0.077)
    assert {score.name: score.num_items for score in report.scores}["total"] == 3
    with pytest.raises(ConfigError, match="--limit 1 with --judge"):
        run(mmvet, judge=str(table), limit=1)
    table.write_text(f"{head}out,38.2,24.4,21.0,22.6,25.7,7.7,334,0.1,x\n")
    with pytest.raises(DataError, match=r"cap-score\.csv, line 2: got total='334'"):
        run(mmvet, judge=str(table))
    table.write_text(head)
    with pytest.raises(DataError, match="got 0 models, wanted one line"):
        run(mmvet, judge=str(table))
    table.write_text("rec,total\n1,2\n")
    with pytest.raises(DataError, match="line 1: got no column ocr"):
        run(mmvet, judge=str(table))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({"v1_0": [0.5], "v1_1": [1.0]}, "got no grade of 1 questions, the first of them v1_2"),
        (
            {"v1_0": [0.5], "v1_1": [1.5], "v1_2": [0.0]},
            r"v1_1: got score=\[1\.5\], wanted numbers",
        ),
        ({"v1_0": [], "v1_1": [1.0], "v1_2": [0.0]}, r"v1_0: got score=\[\]"),
    ],
)
def test_wrong_grades_are_named(
    scores: dict[str, list[float]], message: str, mmvet: dict[str, Any], tmp_path: Path
):
    judge = grade_file(tmp_path / "grades.json", scores)
    with pytest.raises(DataError, match=message):
        run(mmvet, judge=judge)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"capability": ["smell"]}, r"v1_1: got capability=\['smell'\]"),
        ({"capability": []}, r"v1_1: got capability=\[\]"),
        ({"imagename": "no.png"}, "v1_1: there is no picture"),
        ({"question": 1}, "v1_1: got question='1', wanted text"),
    ],
)
def test_a_wrong_question_is_named(changed: dict[str, Any], message: str, mmvet: dict[str, Any]):
    content = json.loads(mmvet["data"].read_text(encoding="utf-8"))
    content["v1_1"] |= changed
    write(mmvet["data"], content)
    with pytest.raises(DataError, match=message):
        run(mmvet)


def test_without_a_file_for_the_answers_nothing_is_begun(mmvet: dict[str, Any]):
    with pytest.raises(ConfigError, match="its judge needs a file of answers: name --output"):
        run({**mmvet, "files": None})
