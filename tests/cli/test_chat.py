"""`janusflow chat`, fed from a pipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from janusflow.inference.drawing.metadata import read_record
from janusflow.inference.pipeline import JanusFlow

Run = Callable[..., Result]
SHORT = ("--max-new-tokens", "6", "--steps", "1")


def test_a_conversation_draws_shows_answers_and_ends(run: Run, tiny_folder: Path):
    said = "/draw 빨간 원\nWhat is it?\n/draw a star\n/quit\nnever read\n"
    result = run("chat", "-m", tiny_folder, *SHORT, "--seed", 5, says=said)
    assert result.exit_code == 0, result.output
    assert "drawings/drawing-1.png" in result.stdout
    records = [read_record(Path(f"drawings/drawing-{i}.png")) for i in (1, 2)]
    assert [(r.prompt, r.seed) for r in records if r] == [("빨간 원", 5), ("a star", 6)]


def test_earlier_turns_and_images_are_remembered_until_reset(run: Run, tiny_folder: Path):
    Image.new("RGB", (30, 30), "red").save("red.png")

    def answers(said: str) -> list[str]:
        """What is answered, without the notes in brackets."""
        lines = run("chat", "-m", tiny_folder, *SHORT, says=said).stdout.splitlines()
        return [line for line in lines if not line.startswith("(")]

    alone = answers("What?\n")
    after_image = answers("/image red.png\nHello\nWhat?\n")
    after_reset = answers("/image red.png\nHello\n/reset\nWhat?\n")
    assert after_image[-1] != alone[-1]
    assert after_reset[-1] == alone[-1]


def test_a_mistake_does_not_end_the_conversation(run: Run, tiny_folder: Path):
    Path("notes.txt").write_text("no image")
    said = "/image nowhere.png\n/image notes.txt\n/image\n/draw\n/dance\n\n" + "a" * 1100
    result = run("chat", "-m", tiny_folder, *SHORT, says=f"{said}\nWhat?\n")
    assert result.exit_code == 0
    reasons = ["nowhere.png", "notes.txt", "/image needs more", "/draw needs more", "/dance is no"]
    lines = result.stderr.splitlines()
    for line, reason in zip(lines, [*reasons, "reads 1024"], strict=True):
        assert line.startswith("error: ")
        assert reason in line
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), OSError("disk full")])
def test_what_fails_while_drawing_or_answering_does_not_end_the_conversation(
    run: Run, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(JanusFlow, "generate", fail)
    result = run("chat", "-m", tiny_folder, *SHORT, says="/draw a star\nWhat?\n")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [f"error: {type(error).__name__}: {error}"]
    assert len(result.stdout.splitlines()) == 1


def test_a_stopped_answer_leaves_the_conversation_open(
    run: Run, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    def stop(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(JanusFlow, "stream", stop)
    result = run("chat", "-m", tiny_folder, *SHORT, says="What?\n/reset\n")
    assert result.exit_code == 0
    assert "(stopped)" in result.stderr
    assert "(forgotten)" in result.stdout


def test_no_drawing_is_overwritten(run: Run, tiny_folder: Path):
    Path("drawings").mkdir()
    Path("drawings/drawing-1.png").write_text("mine")
    run("chat", "-m", tiny_folder, *SHORT, says="/draw a star\n")
    assert Path("drawings/drawing-1.png").read_text() == "mine"
    assert Path("drawings/drawing-2.png").is_file()
