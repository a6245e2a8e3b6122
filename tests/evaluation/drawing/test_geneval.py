"""GenEval: folders that its own script reads, and scores of what that script writes."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from benchmark_runs import Scripted, measure, values

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.core.report import build_page
from janusflow.evaluation.core.runner import RunFiles

PROMPTS = [
    {"tag": "single_object", "include": [{"class": "dog", "count": 1}], "prompt": "a dog"},
    {"tag": "single_object", "include": [{"class": "cat", "count": 1}], "prompt": "a cat"},
    {"tag": "counting", "include": [{"class": "dog", "count": 2}], "prompt": "two dogs"},
]


def write_lines(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in content), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "evaluation_metadata.jsonl", PROMPTS)


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(report=tmp_path / "out.json")


def evaluate_images(folder: Path, right: Mapping[str, int]) -> list[dict[str, Any]]:
    """Go through a folder as the official script does; so many images of a prompt are right."""
    results = []
    for subfolder in folder.iterdir():
        if not subfolder.is_dir() or not subfolder.name.isdigit():
            continue
        metadata = json.loads((subfolder / "metadata.jsonl").read_text(encoding="utf-8"))
        for image in (subfolder / "samples").iterdir():
            if re.match(r"\d+\.png", image.name):
                is_right = int(image.stem) < right.get(metadata["prompt"], 0)
                results.append(
                    {
                        "filename": str(image),
                        "tag": metadata["tag"],
                        "prompt": metadata["prompt"],
                        "correct": is_right,
                        "reason": "" if is_right else "expected cat>=1, found 0",
                        "metadata": json.dumps(metadata),
                        "details": "{}",
                    }
                )
    return results


def test_what_is_drawn_and_judged_by_the_official_script_is_the_mean_of_categories(
    data: Path, files: RunFiles, tmp_path: Path
):
    model = Scripted()
    drawn = measure("geneval", model, data=data, files=files)
    assert drawn.scores == []
    assert [seed for _, seed in model.prompted] == list(range(2024, 2024 + 12))
    results = evaluate_images(files.images, {"a dog": 4, "two dogs": 1})
    assert [result["metadata"] for result in sorted(results, key=lambda r: r["filename"])] == [
        json.dumps(prompt) for prompt in PROMPTS for _ in range(4)
    ]
    judge = str(write_lines(tmp_path / "results.jsonl", results))
    report = measure("geneval", None, judge=judge)
    assert values(report) == {"single_object": 0.5, "counting": 0.25, "overall": 0.375}
    assert all(score.interval is not None for score in report.scores)
    # Intervals are over prompts: of two that are all right and all wrong, anything may be drawn.
    assert report.scores[0].interval == (0.0, 1.0)
    wrong = [row for row in report.rows if not row["right"]]
    assert (wrong[0]["why"], wrong[0]["prompt"]) == ("expected cat>=1, found 0", "a cat")
    page = build_page(report, RunFiles(report=tmp_path / "scores.json"))
    assert str(files.images / "00001/samples/0000.png") in page


def test_a_limit_is_of_prompts_and_keeps_their_seeds(data: Path, files: RunFiles):
    model = Scripted()
    report = measure("geneval", model, limit=1, data=data, files=files)
    wanted = [f"0000{i}/samples/000{j}" for i in (0, 2) for j in range(4)]
    assert [row["id"] for row in report.rows] == wanted
    assert model.prompted[-1] == ("two dogs", 2024 + 11)


def test_images_must_be_kept_for_whoever_judges_them(data: Path):
    with pytest.raises(ConfigError, match="geneval got no --output"):
        measure("geneval", Scripted(), data=data)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"tag": "two", "include": [], "prompt": "x"}, "line 4: got tag='two'"),
        ({"tag": "counting", "prompt": "x"}, r"line 4: got tag, prompt, wanted include \(a list\)"),
    ],
)
def test_a_wrong_prompt_is_named(line: dict[str, Any], message: str, data: Path):
    write_lines(data, [*PROMPTS, line])
    with pytest.raises(DataError, match=message):
        measure("geneval", Scripted(), data=data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filename": "0000.png"}, "line 1: got filename='0000.png', wanted .../PROMPT/samples"),
        ({"correct": 1}, "line 1: got correct=1, wanted true or false"),
        ({"tag": "two"}, "line 1: got tag='two'"),
    ],
)
def test_a_wrong_result_is_named(change: dict[str, Any], message: str, tmp_path: Path):
    right = {"filename": "out/00000/samples/0000.png", "tag": "counting", "prompt": "x"}
    path = write_lines(tmp_path / "r.jsonl", [{**right, "correct": True, "reason": "", **change}])
    with pytest.raises(DataError, match=re.escape(message)):
        measure("geneval", None, judge=str(path))


@pytest.mark.parametrize("judge", ["official", "plugged_in:judge"])
def test_a_judge_in_process_is_refused_in_a_line_that_says_what_to_name(judge: str):
    with pytest.raises(ConfigError, match=r"the official evaluate_images.py writes") as refused:
        measure("geneval", None, judge=judge)
    assert "\n" not in str(refused.value)
