"""`janusflow upscale`, and `--upscale` of `janusflow generate`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from PIL import Image

from janusflow.inference.drawing.metadata import read_record

Run = Callable[..., Result]


def test_a_drawing_made_larger_later_is_the_one_made_larger_at_once(run: Run, tiny_folder: Path):
    common = ("generate", "x", "-m", tiny_folder, "--steps", 1, "--seed", 7, "--quiet")
    for how in ("lanczos:2", "refine:2"):
        assert run(*common, "-o", "small.png").exit_code == 0
        assert run(*common, "-o", "once.png", "--upscale", how).exit_code == 0
        result = run("upscale", "small.png", "-o", "later.png", "--by", how, "-m", tiny_folder)
        assert result.exit_code == 0, result.output
        assert result.stdout == "later.png  (128x128)\n"
        assert Path("later.png").read_bytes() == Path("once.png").read_bytes()
        record = read_record(Path("later.png"))
        assert record is not None
        assert (record.prompt, record.seed, record.upscale) == ("x", 7, how)


def test_any_image_is_made_larger(run: Run):
    Image.new("RGB", (9, 5), "red").save("photo.jpg")
    result = run("upscale", "photo.jpg", "--by", "lanczos:3", "-o", "new/large.webp")
    assert result.exit_code == 0, result.output
    with Image.open("new/large.webp") as large:
        assert large.size == (27, 15)


def test_several_are_numbered_and_told_in_json(run: Run):
    for name, size in (("a.png", (4, 5)), ("b.png", (6, 7))):
        Image.new("RGB", size, "red").save(name)
    result = run("upscale", "a.png", "b.png", "--by", "lanczos:2", "-o", "new/large.png", "--json")
    assert json.loads(result.stdout) == {
        "images": [
            {"path": "new/large-1.png", "width": 8, "height": 10},
            {"path": "new/large-2.png", "width": 12, "height": 14},
        ]
    }
    with Image.open("new/large-2.png") as large:
        assert large.size == (12, 14)


def test_nothing_is_written_if_one_of_several_is_missing(run: Run):
    Image.new("RGB", (4, 4), "red").save("a.png")
    result = run("upscale", "a.png", "missing.png", "-o", "new/large.png")
    assert (result.exit_code, "missing.png" in result.stderr) == (1, True)
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("upscale",), 2, "IMAGE"),
        (("upscale", "missing.png"), 1, "does not exist"),
        (("upscale", "x.png", "--by", "none"), 2, "makes nothing larger"),
        (("upscale", "x.png", "--by", "refine:3"), 2, "is unknown"),
        (("upscale", "x.png", "-o", "out.gif"), 2, "no image format"),
        (("generate", "x", "--upscale", "magic:2"), 2, "is unknown"),
    ],
)
def test_mistakes_are_refused(run: Run, arguments: tuple[str, ...], code: int, reason: str):
    result = run(*arguments)
    assert (result.exit_code, reason in result.stderr) == (code, True), result.output
