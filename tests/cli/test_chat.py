"""`janusflow chat`, fed from a pipe."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from PIL import Image

from janusflow.inference.drawing.metadata import read_record

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
    said = "/image nowhere.png\n/dance\n\nWhat?\n"
    result = run("chat", "-m", tiny_folder, *SHORT, says=said)
    assert result.exit_code == 0
    assert "nowhere.png" in result.stderr
    assert "/dance is no command" in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_no_drawing_is_overwritten(run: Run, tiny_folder: Path):
    Path("drawings").mkdir()
    Path("drawings/drawing-1.png").write_text("mine")
    run("chat", "-m", tiny_folder, *SHORT, says="/draw a star\n")
    assert Path("drawings/drawing-1.png").read_text() == "mine"
    assert Path("drawings/drawing-2.png").is_file()
