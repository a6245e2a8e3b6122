"""`janusflow generate --prompts`: shared out, broken off, gone on with: the same files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from janusflow.inference.drawing.metadata import read_record
from janusflow.inference.pipeline import JanusFlow

Run = Callable[..., Result]
LINES = """a red circle
{"prompt": "a star", "num_images": 2, "seed": 40}

{"prompt": "a ring", "guidance": 1.0, "negative_prompt": "blue"}
노란 별
a blue square
"""
NAMES = ["000001-1", "000002-1", "000002-2", "000004-1", "000005-1", "000006-1"]


def written(folder: str) -> dict[str, bytes]:
    return {path.stem: path.read_bytes() for path in sorted(Path(folder).iterdir())}


@pytest.fixture
def draw(run: Run, tiny_folder: Path) -> Callable[..., Result]:
    Path("many.jsonl").write_text(LINES, encoding="utf-8")

    def drawn(folder: str, *more: Any) -> Result:
        common = ("-m", tiny_folder, "--steps", 1, "--batch-size", 2, "--seed", 7)
        return run("generate", "--prompts", "many.jsonl", "-o", folder, *common, *more)

    return drawn


def test_lines_say_what_is_drawn_and_files_where(draw: Callable[..., Result]):
    result = draw("all", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["drawn"], report["kept"]) == (6, 0)
    assert list(written("all")) == NAMES
    records = [read_record(Path(f"all/{name}.png")) for name in NAMES]
    assert [each and (each.prompt, each.seed, each.guidance) for each in records] == [
        ("a red circle", 7, 2.0),
        ("a star", 40, 2.0),
        ("a star", 41, 2.0),
        ("a ring", 10, 1.0),
        ("노란 별", 11, 2.0),
        ("a blue square", 12, 2.0),
    ]


def test_two_processes_broken_off_and_gone_on_with_leave_the_files_of_one(
    draw: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    assert draw("one").exit_code == 0
    monkeypatch.setenv("WORLD_SIZE", "2")
    generate, calls = JanusFlow.generate, []

    def killed(self: JanusFlow, *given: Any, **more: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(self, *given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(JanusFlow, "generate", killed)
        assert draw("two").exit_code != 0
    begun = written("two")
    assert 0 < len(begun) < 6
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        assert draw("two").exit_code == 0
    assert written("two") == written("one")


def test_only_what_is_missing_broken_or_of_another_line_is_drawn_again(
    draw: Callable[..., Result],
):
    draw("all")
    before = written("all")
    assert json.loads(draw("all", "--json").stdout)["kept"] == 6
    Path("all/000001-1.png").write_bytes(before["000001-1"][:200])
    Path("all/000004-1.png").write_bytes(before["000006-1"])
    report = json.loads(draw("all", "--json").stdout)
    assert (report["drawn"], report["kept"]) == (2, 4)
    assert written("all") == before


def test_bad_lines_are_named_before_anything_is_drawn(run: Run, tiny_folder: Path):
    lines = ["fine", '{"prompt": 3}', '{"prompt": "x", "stepz": 3}', "{", '{"prompt": "x", "n": 2}']
    lines += [json.dumps({"prompt": "long " * 1000}), '{"prompt": "x", "guidance": "3@0.6"}']
    Path("bad.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run("generate", "--prompts", "bad.jsonl", "-m", tiny_folder, "-o", "out")
    assert result.exit_code == 1
    for number in range(2, 8):
        assert f"line {number}: " in result.stderr
    assert "line 1:" not in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    "arguments", [("x", "--prompts", "many.jsonl"), ("--prompts", "many.jsonl", "--strength", 0.5)]
)
def test_what_does_not_go_together_is_refused(run: Run, arguments: tuple[Any, ...]):
    result = run("generate", *arguments)
    assert result.exit_code == 2
    assert "--prompts" in result.stderr
