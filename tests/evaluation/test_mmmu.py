"""MMMU from tables as on the hub to scores, with pictures inside questions and options."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from benchmark_runs import measure, values
from PIL import Image

from janusflow.config.errors import DataError

COLOURS = {1: "red", 2: "lime"}


def png(colour: str) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(stream, format="PNG")
    return {"bytes": stream.getvalue(), "path": f"{colour}.png"}


def row(number: int, question: str, subject: str = "Art", **changed: Any) -> dict[str, Any]:
    pictures = {f"image_{i}": png(COLOURS[i]) if i in COLOURS else None for i in range(1, 8)}
    return {
        "id": f"validation_{subject}_{number}",
        "question": question,
        "options": "['one', \"two's\"]",
        "explanation": "",
        **pictures,
        "answer": "B",
        "question_type": "multiple-choice",
        **changed,
    }


def open_row(number: int, question: str, answer: str, subject: str) -> dict[str, Any]:
    return row(number, question, subject, question_type="open", options="[]", answer=answer)


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [(name, picture if name.startswith("image") else pa.string()) for name in rows[0]]
    )
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


@dataclass
class Watching:
    """Says what a script has for a question, and keeps what it is shown."""

    script: dict[str, str]
    shown: list[list[str]] = field(default_factory=list)

    def generate(self, prompt: Sequence[str], **_: Any) -> list[Image.Image]:
        raise AssertionError(prompt)

    def answer(self, conversations: Sequence[Sequence[Any]], **_: Any) -> list[str]:
        for system, user in conversations:
            assert system["content"] == ""
            self.shown.append([part.get("text") or colour(part) for part in user["content"]])
        texts = [" ".join(parts) for parts in self.shown[-len(conversations) :]]
        return [next(a for q, a in self.script.items() if q in text) for text in texts]


def colour(part: dict[str, Any]) -> str:
    pixel = Image.open(io.BytesIO(part["image"])).getpixel((0, 0))
    return {(255, 0, 0): "RED", (0, 255, 0): "LIME"}[pixel]


def test_pictures_are_shown_where_the_question_and_the_options_name_them(tmp_path: Path):
    data = write(
        tmp_path / "validation-00000-of-00001.parquet",
        row(1, "<image 2> Which is like this?", options="['<image 1>', 'none']"),
        row(2, "Is 1 < 2?"),
        open_row(3, "How many in <image 1>?", "4", "Art"),
    )
    model = Watching({"like this": "B", "Is 1": "A", "How many": "5"})
    report = measure("mmmu", model, data=data)
    letter = "Answer with the option's letter from the given choices directly."
    assert model.shown == [
        ["LIME", "Which is like this?\nA.", "RED", f"B. none\n\n{letter}"],
        [f"Is 1 < 2?\nA. one\nB. two's\n\n{letter}"],
        ["How many in", "RED", "?\nAnswer the question directly."],
    ]
    assert report.rows[0]["question"].startswith("<image 2> Which")


def test_scores_are_by_subject_discipline_and_question(tmp_path: Path):
    write(
        tmp_path / "Art/validation-00000-of-00001.parquet",
        row(1, "a1"),
        row(2, "a2"),
        row(3, "a3"),
    )
    write(tmp_path / "Music/validation-00000-of-00001.parquet", row(1, "m1", "Music"))
    write(
        tmp_path / "Math/validation-00000-of-00001.parquet",
        open_row(1, "s1", "['24/7', '3.429']", "Math"),
        open_row(2, "s2", "[2, 3]", "Math"),
    )
    # Not a part of validation.
    write(tmp_path / "Math/test-00000-of-00001.parquet", row(9, "t", "Math"))
    model = Watching(
        {"a1": "B", "a2": "who knows", "a3": "A", "m1": "(B)", "s1": "3.43", "s2": "2"}
    )
    report = measure("mmmu", model, data=tmp_path)
    assert values(report) == pytest.approx(
        {
            "Art": 1 / 3,
            "Math": 1 / 2,
            "Music": 1.0,
            "Art and Design": 2 / 4,
            "Science": 1 / 2,
            "all": 3 / 6,
        }
    )
    assert [row["said"] for row in report.rows if "said" in row] == ["B", None, "A", "B"]
    assert len(measure("mmmu", model, data=tmp_path, limit=1).rows) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id": "1"}, "id='1', wanted validation_SUBJECT_NUMBER"),
        ({"id": "validation_Alchemy_1"}, "id='validation_Alchemy_1'"),
        ({"answer": "C"}, "answer='C', wanted one of: A, B"),
        ({"options": "one, two"}, "options='one, two', wanted texts as"),
        ({"options": "[]"}, r"options='\[\]', wanted texts as"),
        ({"question_type": "essay"}, "question_type='essay', wanted one of"),
        ({"question": "<image 5>?"}, "image_5=None, wanted the picture <image 5>"),
        ({"question": None}, "question='None', wanted text"),
    ],
)
def test_a_wrong_row_is_named(changed: dict[str, Any], message: str, tmp_path: Path):
    data = write(tmp_path / "art.parquet", row(1, "fine"), row(2, "<image 1>?") | changed)
    with pytest.raises(DataError, match=rf"art\.parquet, row 1: got {message}"):
        measure("mmmu", Watching({}), data=data)


def test_another_file_is_refused(tmp_path: Path):
    (tmp_path / "art.parquet").write_text("no table", encoding="utf-8")
    with pytest.raises(DataError, match=r"cannot read .*art\.parquet"):
        measure("mmmu", Watching({}), data=tmp_path / "art.parquet")
    with pytest.raises(DataError, match=r"no \*/validation-\*\.parquet in this folder"):
        measure("mmmu", Watching({}), data=tmp_path)
