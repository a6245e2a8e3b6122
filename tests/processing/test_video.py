"""Frames of films: which ones, how many, and what is refused."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from data_files import STEP, write_film
from PIL import Image

from janusflow.config.errors import ConfigError, ImageError
from janusflow.processing.video import is_video, sample_frames

av = pytest.importorskip("av", reason="no PyAV: pip install 'janusflow[video]'; films untested")


def indices(frames: list[Image.Image]) -> list[int]:
    return [round(float(np.asarray(frame).mean()) / STEP) for frame in frames]


@pytest.mark.parametrize("keyframes_apart", [1, 5, 100])
@pytest.mark.parametrize(
    ("number", "wanted"), [(1, [15]), (2, [7, 22]), (3, [5, 15, 25]), (5, [3, 9, 15, 21, 27])]
)
def test_frames_are_the_middles_of_equal_parts_wherever_keyframes_lie(
    tmp_path: Path, keyframes_apart: int, number: int, wanted: list[int]
):
    film = write_film(tmp_path / "a.mp4", frames=30, keyframes_apart=keyframes_apart)
    frames = sample_frames(film, number)
    assert indices(frames) == wanted
    assert {(frame.size, frame.mode) for frame in frames} == {((64, 48), "RGB")}


def test_a_film_taken_with_the_phone_upright_stands_upright(tmp_path: Path):
    """A quarter turn clockwise, written in the track's header: what was left comes to the top."""
    film = tmp_path / "a.mp4"
    with av.open(str(film), "w") as writing:
        stream = writing.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        image = Image.new("RGB", (64, 48), "blue")
        image.paste("red", (0, 0, 32, 48))
        writing.mux(stream.encode(av.VideoFrame.from_image(image)))
        writing.mux(stream.encode())
    content = film.read_bytes()
    upright, turned = (
        struct.pack(">4i", *ones) for ones in ((65536, 0, 0, 0), (0, 65536, 0, -65536))
    )
    tail = struct.pack(">5i", 65536, 0, 0, 0, 1 << 30), struct.pack(">5i", 0, 0, 0, 0, 1 << 30)
    header = content.index(b"tkhd")
    at = content.index(upright + tail[0], header)
    film.write_bytes(content[:at] + turned + tail[1] + content[at + len(turned + tail[1]) :])
    (frame,) = sample_frames(film)
    assert frame.size == (48, 64)
    assert frame.getpixel((24, 8))[0] > 200 > frame.getpixel((24, 8))[2]
    assert frame.getpixel((24, 56))[2] > 200 > frame.getpixel((24, 56))[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_short_film_gives_each_of_its_frames_once(tmp_path: Path, suffix: str):
    film = write_film(tmp_path / f"a{suffix}", frames=4)
    assert indices(sample_frames(film, 9)) == [0, 1, 2, 3]


def test_what_is_no_film_is_refused_in_one_line(tmp_path: Path):
    (tmp_path / "noise.mp4").write_bytes(b"nonsense" * 100)
    whole = write_film(tmp_path / "a.mp4", frames=10).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # its index is at the end
    for name, reason in (("noise", "damaged"), ("cut", "cut short"), ("nowhere", "is no file")):
        with pytest.raises(ImageError, match=reason) as refusal:
            sample_frames(tmp_path / f"{name}.mp4")
        assert "\n" not in str(refusal.value)


def test_sound_alone_is_refused(tmp_path: Path):
    with av.open(str(tmp_path / "a.mp4"), "w") as film:
        stream = film.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        sound.sample_rate = 8000
        film.mux(stream.encode(sound))
        film.mux(stream.encode())
    with pytest.raises(ImageError, match="only sound"):
        sample_frames(tmp_path / "a.mp4")


def test_fewer_than_one_frame_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="frames=0"):
        sample_frames(write_film(tmp_path / "a.mp4", frames=2), 0)


def test_without_pyav_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ConfigError, match=r"pip install 'janusflow\[video\]'"):
        sample_frames(tmp_path / "a.mp4")


def test_films_are_known_by_their_names():
    assert is_video("a/B.MP4")
    assert not is_video("a.png")
