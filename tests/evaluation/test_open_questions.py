"""Questions with short answers, from the official files to the scores."""

import json
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import Scripted, measure, paint, values

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.open_questions import SHORT, is_about, is_exact


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture
def vqav2(tmp_path: Path) -> dict[str, Path]:
    questions = [
        {"image_id": 42, "question": "What color is it?", "question_id": 42000},
        {"image_id": 42, "question": "Is it a dog?", "question_id": 42001},
    ]
    said = {42000: ["red"] * 3 + [f"blue {c}" for c in "abcdefg"], 42001: ["yes"] * 10}
    annotations = [
        {
            "question_id": key,
            "image_id": 42,
            "question_type": "what",
            "answer_type": "other" if key == 42000 else "yes/no",
            "multiple_choice_answer": texts[0],
            "answers": [
                {"answer": text, "answer_confidence": "yes", "answer_id": i + 1}
                for i, text in enumerate(texts)
            ],
        }
        for key, texts in said.items()
    ]
    paint(tmp_path, "COCO_val2014_000000000042.jpg")
    content = {"data_type": "mscoco", "data_subtype": "val2014", "questions": questions}
    return {
        "data": write(tmp_path / "questions.json", content),
        "answers": write(tmp_path / "annotations.json", {"annotations": annotations}),
        "pictures": tmp_path,
    }


def test_vqav2_is_soft_accuracy_by_kind_and_in_all(vqav2: dict[str, Path]):
    model = Scripted({"color": "Red.", "dog": "no"})
    report = measure("vqav2", model, **vqav2)
    assert values(report) == pytest.approx({"other": 0.9, "yes/no": 0.0, "all": 0.45})
    assert model.asked[0] == f"What color is it?{SHORT}"


def test_an_entry_that_is_not_as_it_should_be_is_named(vqav2: dict[str, Path]):
    content = json.loads(vqav2["data"].read_text(encoding="utf-8"))
    content["questions"][1]["question"] = 7
    write(vqav2["data"], content)
    with pytest.raises(DataError, match=r"questions\.json, questions\[1\]: got question='7'"):
        measure("vqav2", Scripted(), **vqav2)
    content["questions"][1] = {**content["questions"][0], "question_id": 8}
    write(vqav2["data"], content)
    with pytest.raises(DataError, match="question_id=8 without an annotation"):
        measure("vqav2", Scripted(), **vqav2)
    write(vqav2["data"], {**content, "data_subtype": "test-dev2015"})
    with pytest.raises(DataError, match=r"questions\[0\]: there is no picture .*test2015"):
        measure("vqav2", Scripted(), **vqav2)


def test_an_option_that_is_missing_or_of_no_use_is_one_line(vqav2: dict[str, Path]):
    with pytest.raises(ConfigError, match="got no --answers"):
        measure("vqav2", Scripted(), data=vqav2["data"], pictures=vqav2["pictures"])
    with pytest.raises(ConfigError, match="textvqa has no use for --answers"):
        measure("textvqa", Scripted(), **vqav2)


def test_textvqa_is_soft_accuracy(tmp_path: Path):
    question = {
        "question": "what does it say?",
        "image_id": "003a8ae2ef43b901",
        "question_id": 34602,
        "answers": ["don't walk"] * 2 + [f"x{i}" for i in range(8)],
    }
    paint(tmp_path, "003a8ae2ef43b901.jpg")
    data = write(tmp_path / "val.json", {"dataset_type": "val", "data": [question]})
    model = Scripted({"say": "Dont walk!"})
    report = measure("textvqa", model, data=data, pictures=tmp_path)
    assert values(report) == pytest.approx({"all": 0.6})


def test_gqa_is_exact_match_by_structure(tmp_path: Path):
    def question(text: str, answer: str, structural: str) -> dict[str, Any]:
        types = {"structural": structural, "semantic": "attr", "detailed": "x"}
        return {
            "imageId": "n1",
            "question": text,
            "answer": answer,
            "fullAnswer": f"It is {answer}.",
            "isBalanced": True,
            "types": types,
        }

    content = {
        "201": question("Is it hot?", "yes", "verify"),
        "202": question("What is it?", "cat", "query"),
        "203": question("Who is it?", "man", "query"),
    }
    paint(tmp_path, "n1.jpg")
    data = write(tmp_path / "testdev_balanced_questions.json", content)
    model = Scripted({"hot": "Yes.", "What": "a cat", "Who": "man"})
    report = measure("gqa", model, data=data, pictures=tmp_path)
    assert values(report) == pytest.approx({"verify": 1.0, "query": 0.5, "all": 2 / 3})
    assert is_exact("Light blue.", "light blue")


@pytest.mark.parametrize(
    ("answer", "wanted", "is_right"),
    [
        ("105", "100", True),
        ("105.1", "100", False),
        ("95", "100", True),
        ("-95", "100", False),
        ("14%", "0.14", True),
        ("14", "14%", False),
        ("0", "0", True),
        ("0.0", "0", False),  # the official rule compares texts when the wanted number is 0
        ("yes", "Yes", True),
        ("about 100", "100", False),
    ],
)
def test_relaxed_correctness_is_five_percent(answer: str, wanted: str, is_right: bool):
    assert is_about(answer, wanted) == is_right


def test_chartqa_scores_both_splits_and_all(tmp_path: Path):
    for name, label in (("human", "10"), ("augmented", "20")):
        entry = {"imgname": "1.png", "query": f"How many {name}?", "label": label}
        write(tmp_path / f"test_{name}.json", [entry])
    paint(tmp_path, "png/1.png")
    model = Scripted({"human": "10.4", "augmented": "22"})
    report = measure("chartqa", model, data=tmp_path, pictures=tmp_path / "png")
    assert values(report) == {"test_augmented": 0.0, "test_human": 1.0, "all": 0.5}
    (tmp_path / "test_human.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match=r"test_human\.json, entry 0: got '1'"):
        measure("chartqa", model, data=tmp_path, pictures=tmp_path / "png")
