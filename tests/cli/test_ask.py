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
def images(run: Run) -> list[str]:
    for colour in ("red", "blue"):
        Image.new("RGB", (30, 20), colour).save(f"{colour}.png")
    return ["red.png", "blue.png"]


def test_plain_json_and_streamed_answers_are_the_same(
    run: Run, tiny_folder: Path, images: list[str]
):
    common = ("ask", *images, "무엇이 다른가요?", "-m", tiny_folder, *SHORT)
    plain, as_json, streamed = run(*common), run(*common, "--json"), run(*common, "--stream")
    report = json.loads(as_json.stdout)
    assert report["images"] == images
    assert report["question"] == "무엇이 다른가요?"
    assert plain.stdout.strip() == report["answer"] == streamed.stdout.strip()


def test_a_question_needs_no_image(run: Run, tiny_folder: Path):
    for question in ("Who are you?", "What would you see in red.png"):
        assert run("ask", question, "-m", tiny_folder, *SHORT).exit_code == 0


def test_the_image_reaches_the_answer(run: Run, tiny_folder: Path, images: list[str]):
    answers = {run("ask", one, "What?", "-m", tiny_folder, *SHORT).stdout for one in images}
    assert len(answers) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ((), 2, "QUESTION"),
        (("red.png",), 2, "a question is missing after red.png"),
        (("red.png", "blue.png"), 2, "a question is missing after blue.png"),
        (("nowhere.jpg",), 2, "a question is missing"),
        (("nowhere.png", "What?"), 1, "does not exist"),
        (("broken.png", "What?"), 1, "not an image"),
        (("http://example.com/a.png", "What?"), 1, "not fetched"),
        (("red.png", "What?", "--stream", "--json"), 2, "--stream and --json"),
        (("red.png", "What?", "--temperature", "-1"), 2, "temperature"),
    ],
)
def test_mistakes_are_refused_without_a_traceback(
    run: Run, images: list[str], arguments: tuple[str, ...], code: int, reason: str
):
    Path("broken.png").write_bytes(b"nonsense")
    result = run("ask", *arguments)
    assert result.exit_code == code
    assert reason in result.stderr
    assert "Traceback" not in result.output


def test_a_film_is_asked_about_as_its_frames(run: Run, tiny_folder: Path):
    av = pytest.importorskip("av", reason="no PyAV: pip install 'janusflow[video]'")
    colours = ("red", "green", "blue", "white")
    with av.open("clip.mkv", "w") as film:
        stream = film.add_stream("ffv1", rate=4)  # keeps every pixel
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        for colour in colours:
            image = Image.new("RGB", (32, 32), colour)
            image.save(f"{colour}.png")
            film.mux(stream.encode(av.VideoFrame.from_image(image).reformat(format="bgr0")))
        film.mux(stream.encode())
    common = ("What?", "-m", tiny_folder, *SHORT)
    asked = run("ask", "clip.mkv", *common, "--frames", 2)
    assert asked.exit_code == 0, asked.output
    assert asked.stdout == run("ask", "green.png", "white.png", *common).stdout
    assert asked.stdout != run("ask", "clip.mkv", *common, "--frames", 1).stdout


def test_a_film_that_is_none_is_refused(run: Run, tiny_folder: Path):
    pytest.importorskip("av", reason="no PyAV: pip install 'janusflow[video]'")
    Path("clip.mp4").write_bytes(b"nonsense")
    result = run("ask", "clip.mp4", "What?", "-m", tiny_folder)
    assert (result.exit_code, "no film or damaged" in result.stderr) == (1, True)
