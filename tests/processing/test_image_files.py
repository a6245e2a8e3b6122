"""Files from outside become upright RGB images or are refused in one line."""

import base64
import io
import os
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from janusflow.config.errors import ImageError
from janusflow.processing.image_files import open_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and brings next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def refusal(source: object, **options: int) -> str:
    with pytest.raises(ImageError) as error:
        open_image(source, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@given(
    mode=st.sampled_from(
        ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
        + ["LAB", "I", "F", "I;16", "I;16L", "I;16B"]
    ),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_every_mode_and_size_becomes_rgb_of_the_same_size(mode: str, width: int, height: int):
    source = Image.new(mode, (width, height))
    opened = open_image(source)
    assert (opened.mode, opened.size, source.mode) == ("RGB", (width, height), mode)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "ICO"])
def test_lossless_formats_keep_every_pixel_whatever_the_name_says(kind: str, tmp_path: Path):
    image = noise(16, 16).quantize(200).convert("RGB")
    path = tmp_path / "liar.jpg"
    path.write_bytes(encoded(image, kind))
    for source in (path, str(path), path.read_bytes()):
        assert open_image(source).tobytes() == image.tobytes()


def test_opening_leaves_the_source_alone_and_twice_is_once():
    source = noise(5, 4)
    source.info["transparency"] = (1, 2, 3)
    source.getexif()[0x0112] = 6
    before = source.tobytes()
    once = open_image(source)
    assert once.size == (4, 5)
    assert open_image(once).tobytes() == once.tobytes()
    assert (source.tobytes(), source.size) == (before, (5, 4))
    once.putpixel((0, 0), (9, 9, 9))
    assert source.tobytes() == before


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind: str, orientation: int):
    """Where EXIF puts row 0 and column 0 of the stored pixels, in words of the standard."""
    first_row = {1: "top", 2: "top", 3: "bottom", 4: "bottom"}
    first_row |= {5: "left", 6: "right", 7: "right", 8: "left"}
    first_column = {1: "left", 2: "right", 3: "right", 4: "left"}
    first_column |= {5: "top", 6: "top", 7: "bottom", 8: "bottom"}
    stored = np.zeros((32, 64, 3), dtype=np.uint8)
    stored[:8, :, 0] = 255  # first rows red
    stored[:, :8, 1] = 255  # first columns green
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}

    upright = np.asarray(
        open_image(encoded(Image.fromarray(stored), kind, exif=exif, **options)), dtype=int
    )

    edges = {
        "top": upright[1],
        "bottom": upright[-2],
        "left": upright[:, 1],
        "right": upright[:, -2],
    }
    reddest = max(edges, key=lambda edge: edges[edge][:, 0].mean())
    greenest = max(edges, key=lambda edge: edges[edge][:, 1].mean())
    assert (reddest, greenest) == (first_row[orientation], first_column[orientation])


def test_broken_exif_is_ignored_and_the_pixels_kept():
    image = noise(8, 8)
    data = encoded(image, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert open_image(data).tobytes() == image.tobytes()


@given(st.integers(0, 255), st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_alpha_is_composited_on_white(level: int, alpha: int):
    """out = level * a + 255 * (1 - a), within one level of rounding."""
    expected = (level * alpha + 255 * (255 - alpha)) / 255
    for mode, colour in (("RGBA", (level,) * 3 + (alpha,)), ("LA", (level, alpha))):
        got = open_image(encoded(Image.new(mode, (2, 2), colour), "PNG")).getpixel((0, 0))
        assert got[0] == got[1] == got[2]
        assert abs(got[0] - expected) <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palettes_see_through_colour_becomes_white(kind: str):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putdata([0, 1])
    opened = open_image(encoded(image, kind, transparency=1))
    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [RED, WHITE]


@pytest.mark.parametrize(("mode", "key"), [("RGB", (0, 0, 255)), ("L", 7)])
def test_a_see_through_key_colour_becomes_white(mode: str, key: int | tuple[int, int, int]):
    opened = open_image(encoded(Image.new(mode, (2, 2), key), "PNG", transparency=key))
    assert opened.getpixel((0, 0)) == WHITE


def test_cmyk_ink_becomes_light():
    opened = open_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(np.asarray(opened, dtype=int) - RED).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str):
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    opened = open_image(encoded(Image.fromarray(levels), kind))
    assert np.array_equal(np.asarray(opened)[..., 0], levels // 257)


def test_big_endian_sixteen_bits_read_like_little_endian():
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    big = Image.frombytes("I;16B", (16, 16), levels.astype(">u2").tobytes())
    assert open_image(big).tobytes() == open_image(Image.fromarray(levels)).tobytes()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0.0, 100.0, 255.0]], dtype=np.float32), [0, 100, 255]),
        (np.array([[0, 25700, 65535]], dtype=np.int32), [0, 100, 255]),
        (np.array([[0, 100, 255]], dtype=np.int32), [0, 100, 255]),
        (np.array([[-500.0, 0.0, 500.0]], dtype=np.float32), [0, 128, 255]),
        (np.array([[0, 2**30, 2**31 - 2]], dtype=np.int32), [0, 128, 255]),
        (np.array([[np.nan, 0.5, np.inf]], dtype=np.float32), [128, 128, 128]),
    ],
)
def test_wide_values_are_scaled_by_the_range_that_holds_them(
    values: np.ndarray, expected: list[int]
):
    opened = np.asarray(open_image(Image.fromarray(values)))[0, :, 0]
    assert opened.tolist() == expected


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_gives_its_first_frame(kind: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert open_image(data).getpixel((0, 0)) == RED


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "JPEG2000"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(kind: str, kept: float):
    data = encoded(noise(64, 48), kind)
    message = refusal(data[: int(kept * len(data))])
    assert "cut short" in message or "header is broken" in message


@given(position=st.floats(0, 1), value=st.integers(0, 255), kind=st.sampled_from(["PNG", "JPEG"]))
@settings(max_examples=60, deadline=None)
def test_a_damaged_byte_never_escapes_as_another_error(position: float, value: int, kind: str):
    data = bytearray(encoded(noise(16, 16), kind))
    data[int(position * (len(data) - 1))] = value
    with suppress(ImageError):
        assert open_image(bytes(data)).mode == "RGB"


def test_a_bomb_is_refused_before_it_is_unpacked():
    assert "too large" in refusal(png_header(50000, 50000))
    assert "too large" in refusal(png_header(13000, 13800))
    assert "more than 100 pixels" in refusal(noise(11, 10), max_pixels=100)
    assert open_image(noise(10, 10), max_pixels=100).size == (10, 10)


def test_pillows_warning_about_size_does_not_leak(monkeypatch: pytest.MonkeyPatch):
    """Pillow warns above half of what it refuses; ours has one limit and no warnings."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(noise(15, 10), "PNG")
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        assert open_image(data).size == (15, 10)
    assert leaked == []


def test_mistakes_are_named(tmp_path: Path):
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello, I am no image")
    os.mkfifo(tmp_path / "pipe")
    assert "does not exist" in refusal(tmp_path / "absent.png")
    assert "not fetched" in refusal("https://example.org/cat.png")
    assert "is a folder" in refusal(tmp_path)
    assert "is empty" in refusal(tmp_path / "empty.png")
    assert "is empty" in refusal(b"")
    assert "not an image" in refusal(tmp_path / "text.png")
    assert "not an ordinary file" in refusal(tmp_path / "pipe")
    assert "cannot be read" in refusal("a\0b")
    assert "does not exist" in refusal("two\nlines.png")
    assert "no pixels" in refusal(Image.new("RGB", (0, 5)))
    assert "cannot be read" in refusal("x" * 5000)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
        (b"<html><body>404</body></html>", "web page"),
    ],
)
def test_what_often_lies_where_an_image_should_is_told(data: bytes, expected: str, tmp_path: Path):
    (tmp_path / "0.jpg").write_bytes(data)
    assert expected in refusal(tmp_path / "0.jpg")


@pytest.mark.parametrize("key", ["tEXt", "zTXt", "iTXt"])
def test_a_png_with_much_text_is_opened(key: str):
    image, info = noise(4, 4), PngImagePlugin.PngInfo()
    text = "a" * 2_000_000
    if key == "iTXt":
        info.add_itxt("prompt", text, zip=True)
    else:
        info.add_text("prompt", text, zip=key == "zTXt")
    limit = PngImagePlugin.MAX_TEXT_CHUNK
    assert open_image(encoded(image, "PNG", pnginfo=info)).tobytes() == image.tobytes()
    assert limit == PngImagePlugin.MAX_TEXT_CHUNK


@pytest.mark.parametrize("greatest", [1, 200, 255, 65535])
def test_sixteen_bits_are_read_as_stored_however_small(greatest: int):
    levels = np.linspace(0, greatest, 16).astype(np.uint16).reshape(4, 4)
    expected = np.rint(levels / 257)
    graymap = b"P5 4 4 65535\n" + levels.astype(">u2").tobytes()
    for data in (graymap, encoded(Image.fromarray(levels), "PNG")):
        assert np.array_equal(np.asarray(open_image(data))[..., 0], expected)


def test_arrays_and_tensors_are_images_whatever_their_layout():
    image = noise(6, 5)
    pixels = np.asarray(image)
    for array in (
        pixels,
        pixels.transpose(2, 0, 1),
        pixels.astype(np.int64),
        pixels / 255,
        pixels.astype(np.float32),
        torch.from_numpy(pixels.copy()).permute(2, 0, 1),
    ):
        assert open_image(array).tobytes() == image.tobytes()
    assert open_image(np.ones((4, 3), dtype=bool)).getpixel((0, 0)) == WHITE
    assert open_image(pixels[..., :1]).tobytes() == open_image(pixels[..., 0]).tobytes()
    assert open_image(np.dstack([pixels, np.zeros((5, 6), np.uint8)])).getpixel((0, 0)) == WHITE
    three = noise(3, 3)
    assert open_image(np.asarray(three), channels_first=False).tobytes() == three.tobytes()
    for wrong in (np.zeros((2, 2, 2)), np.zeros(4), np.array([["a"]])):
        assert "shape" in refusal(wrong)


def test_open_files_and_data_uris_are_read(tmp_path: Path):
    image = noise(6, 5)
    data = encoded(image, "PNG")
    (tmp_path / "0.png").write_bytes(data)
    with (tmp_path / "0.png").open("rb") as file:
        assert open_image(file).tobytes() == image.tobytes()
    assert "give a path" in refusal(io.StringIO("text"))
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    assert open_image(uri).tobytes() == image.tobytes()


def test_postscript_is_never_handed_to_an_outside_program():
    assert "not an image" in refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
