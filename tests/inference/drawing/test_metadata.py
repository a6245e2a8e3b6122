"""The drawing record inside an image file."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from janusflow.config.errors import ImageError
from janusflow.inference.drawing.metadata import DrawingRecord, read_record, record_of, save_image

RECORD = DrawingRecord(
    prompt='파란 별 위에 빨간 원, "quoted"\nand a second line',
    negative_prompt="흐린 그림",
    seed=2**40 + 1,
    steps=30,
    guidance=2.5,
    solver="euler",
    shift=1.0,
    numerics="accurate",
    strength=0.6,
    model="mini",
    version="0.1.0",
    grid="cosine",
    guidance_rescale=0.5,
    reuse=0.05,
    upscale="lanczos:2",
)
NEWER = ("grid", "guidance_rescale", "reuse", "upscale")
"""Settings that images of older versions lack."""


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, negative_prompt=None, strength=None),
        replace(RECORD, guidance="3@0.1-0.6"),
    ],
)
def test_a_png_gives_back_the_record_it_was_saved_with(tmp_path: Path, record: DrawingRecord):
    save_image(record.attach(Image.new("RGB", (8, 8))), tmp_path / "new" / "out.png")
    assert read_record(tmp_path / "new" / "out.png") == record


def test_a_fresh_image_carries_its_record():
    assert record_of(RECORD.attach(Image.new("RGB", (8, 8)))) == RECORD


def test_an_image_of_an_older_version_was_drawn_without_newer_settings():
    image = RECORD.attach(Image.new("RGB", (8, 8)))
    for name in NEWER:
        del image.info[name]
    older = replace(RECORD, grid="uniform", guidance_rescale=0.0, reuse=0.0, upscale=None)
    assert record_of(image) == older


def test_an_image_from_elsewhere_has_no_record():
    assert record_of(Image.new("RGB", (8, 8))) is None


@pytest.mark.parametrize("name", ["out.jpg", "out.JPEG", "out.webp"])
def test_other_formats_are_written_without_record(tmp_path: Path, name: str):
    save_image(RECORD.attach(Image.new("RGB", (8, 8))), tmp_path / name)
    with Image.open(tmp_path / name) as reopened:
        assert reopened.size == (8, 8)
        assert record_of(reopened) is None


@pytest.mark.parametrize("name", ["out.exe", "out"])
def test_an_unknown_extension_is_refused_and_nothing_is_written(tmp_path: Path, name: str):
    with pytest.raises(ImageError, match="no image format"):
        save_image(RECORD.attach(Image.new("RGB", (8, 8))), tmp_path / "new" / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["steps", "guidance"])
def test_a_damaged_record_is_refused_in_one_line(name: str):
    image = RECORD.attach(Image.new("RGB", (8, 8)))
    image.info[name] = "thirty"
    with pytest.raises(ImageError, match="thirty") as refusal:
        record_of(image)
    assert "\n" not in str(refusal.value)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="cannot be written"):
        save_image(Image.new("RGB", (8, 8)), tmp_path / "file" / "out.png")


def test_a_file_that_is_no_image_is_refused(tmp_path: Path):
    (tmp_path / "out.png").write_bytes(b"not an image")
    with pytest.raises(ImageError, match="not an image"):
        read_record(tmp_path / "out.png")
