"""`janusflow ask`: answers, JSON, streaming, refusals."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

Run = Callable[..., Result]
SHORT = ("--max-new-tokens", "8")


@pytest.fixture
def pictures(run: Run) -> list[str]:
    for colour in ("red", "blue"):
        Image.new("RGB", (30, 20), colour).save(f"{colour}.png")
    return ["red.png", "blue.png"]


def test_plain_json_and_streamed_answers_are_the_same(
    run: Run, tiny_folder: Path, pictures: list[str]
):
    common = ("ask", *pictures, "무엇이 다른가요?", "-m", tiny_folder, *SHORT)
    plain, as_json, streamed = run(*common), run(*common, "--json"), run(*common, "--stream")
    report = json.loads(as_json.stdout)
    assert report["images"] == pictures
    assert report["question"] == "무엇이 다른가요?"
    assert plain.stdout.strip() == report["answer"] == streamed.stdout.strip()


def test_a_question_needs_no_picture(run: Run, tiny_folder: Path):
    assert run("ask", "Who are you?", "-m", tiny_folder, *SHORT).exit_code == 0


def test_the_picture_reaches_the_answer(run: Run, tiny_folder: Path, pictures: list[str]):
    answers = {run("ask", one, "What?", "-m", tiny_folder, *SHORT).stdout for one in pictures}
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), 2, "QUESTION"),
        (("nowhere.png", "What?"), 1, "does not exist"),
        (("broken.png", "What?"), 1, "not a picture"),
        (("http://example.com/a.png", "What?"), 1, "not fetched"),
        (("red.png", "What?", "--stream", "--json"), 2, "--stream and --json"),
        (("red.png", "What?", "--temperature", "-1"), 2, "temperature"),
    ],
)
def test_mistakes_are_refused_without_a_traceback(
    run: Run, pictures: list[str], arguments: tuple[str, ...], code: int, reason: str
):
    Path("broken.png").write_bytes(b"nonsense")
    result = run("ask", *arguments)
    assert result.exit_code == code
    assert reason in result.stderr
    assert "Traceback" not in result.output
