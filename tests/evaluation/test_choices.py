"""Options by their letters, from the official files to the scores."""

import base64
import csv
import io
import json
from pathlib import Path

import pytest
from benchmark_runs import Scripted, measure, paint, values
from PIL import Image

from janusflow.config.errors import DataError
from janusflow.evaluation.choices import choice_prompt, chosen_letter

OPTIONS = {"A": "a cat", "B": "a dog", "C": "two horses"}


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(C)", "C"),
        ("The answer is B", "B"),
        ("A", "A"),
        ("A dog is in it", "B"),  # four words: the article, so the text decides
        ("Two Horses", "C"),
        ("a dog.", "B"),
        ("B or C", None),
        ("b", None),
        ("D", None),
        ("", None),
        ("I see " + "so very " * 10 + "a dog", None),  # too long for a text to be the answer
    ],
)
def test_an_answer_names_an_option_by_letter_or_by_text(answer: str, letter: str | None):
    assert chosen_letter(answer, OPTIONS) == letter


def test_the_prompt_is_the_authors():
    assert choice_prompt("What?", {"A": "x", "B": "y"}, hint="Look.") == (
        "Hint: Look.\nWhat?\nA. x\nB. y\n\n"
        "Answer with the option's letter from the given choices directly."
    )


def write_mmbench(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        names = ["index", "question", "hint", *"ABCD", "answer", "category", "image", "l2-category"]
        writer = csv.DictWriter(file, names, delimiter="\t", restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def mmbench_row(index: int, question: str, answer: str, image: str) -> dict[str, str]:
    options = {"A": "one", "B": "two"}
    named = {"index": str(index), "question": question, "answer": answer, "image": image}
    return {**named, **options, "category": "c", "l2-category": "coarse"}


@pytest.fixture
def picture() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_mmbench_is_measured_without_its_circular_rows(picture: str, tmp_path: Path):
    rows = [
        mmbench_row(0, "First\nof two?", "A", picture),
        mmbench_row(1, "Second?", "B", "0"),
        mmbench_row(1_000_000, "First\nof two?", "B", picture),
    ]
    data = write_mmbench(tmp_path / "MMBench_DEV_EN.tsv", rows)
    model = Scripted({"First": "A", "Second": "A"})
    report = measure("mmbench", model, data=data)
    assert values(report) == {"coarse": 0.5, "all": 0.5}
    assert [row["id"] for row in report.rows] == ["0", "1"]
    assert "C." not in model.asked[0]
    assert "Hint" not in model.asked[0]


def test_a_wrong_line_of_mmbench_is_named(picture: str, tmp_path: Path):
    path = tmp_path / "dev.tsv"
    for change, message in (
        ({"answer": "C"}, "line 3: got answer='C', wanted one of: A, B"),
        ({"image": "?"}, r"line 3: got image='\?'"),
        ({"index": "x"}, "line 3: got index='x'"),
    ):
        good = mmbench_row(0, "q", "A", picture)
        write_mmbench(path, [good, {**good, **change}])
        with pytest.raises(DataError, match=message):
            measure("mmbench", Scripted(), data=path)
    path.write_text("index\tquestion\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: got no column A, B, answer"):
        measure("mmbench", Scripted(), data=path)


def test_seed_asks_about_pictures_alone(tmp_path: Path):
    def question(kind: int, text: str, answer: str) -> dict[str, object]:
        choices = {f"choice_{letter}": f"{text} {letter}" for letter in "abcd"}
        return {
            "answer": answer,
            "data_id": "1_2",
            "data_type": "image" if kind < 10 else "video",
            "question": text,
            "question_id": f"{kind}_{text}",
            "question_type_id": kind,
            **choices,
        }

    content = {
        "question_type": {"Scene Understanding": 1, "Instance Identity": 2},
        "questions": [question(1, "s", "D"), question(2, "i", "A"), question(10, "v", "A")],
    }
    data = tmp_path / "SEED-Bench.json"
    data.write_text(json.dumps(content), encoding="utf-8")
    paint(tmp_path, "1_2.png")
    (tmp_path / "1_2.png").rename(tmp_path / "1_2")
    model = Scripted({"s\nA.": "D", "i\nA.": "i b"})
    report = measure("seed", model, data=data, pictures=tmp_path)
    assert values(report) == {"scene understanding": 1.0, "instance identity": 0.0, "all": 0.5}
