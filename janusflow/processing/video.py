"""Films as images: frames spread evenly over a clip, read through PyAV.

PyAV is not needed for anything else: `pip install 'janusflow[video]'`.
"""

from pathlib import Path
from typing import Any

from PIL import Image

from janusflow.config.errors import ConfigError, ImageError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".ts")
"""Files with these names are asked about as films."""
DEFAULT_FRAMES = 8


def is_video(path: str | Path) -> bool:
    """Whether a file is a film by its name."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def sample_frames(path: str | Path, number: int = DEFAULT_FRAMES) -> list[Image.Image]:
    """The frames in the middle of `number` equal parts of a film; all frames of a shorter one.

    Raises:
        ConfigError: PyAV is missing, or fewer than one frame is wanted.
        ImageError: the file is missing, no film, without images, or damaged.
    """
    if number < 1:
        raise ConfigError(f"frames={number}: a film is asked about by at least one.")
    try:
        import av
    except ImportError:
        raise ConfigError(
            f"{path} is a film, and PyAV, which reads them, is not installed: "
            "pip install 'janusflow[video]'"
        ) from None
    if not Path(path).is_file():
        raise ImageError(f"{str(path)!r} is no file: check the path")
    try:
        with av.open(str(path)) as film:
            if not film.streams.video:
                raise ImageError(
                    f"{str(path)!r} has no images, only sound, or is cut short: give a whole film"
                )
            return _frames(film, film.streams.video[0], number, path=path)
    except av.FFmpegError as error:
        raise ImageError(
            f"{str(path)!r} is no film or damaged ({' '.join(str(error).split())[:80]}): get the "
            "file again"
        ) from None


def _frames(film: Any, stream: Any, number: int, *, path: str | Path) -> list[Image.Image]:
    """Times first, from packets that are not decoded; then no more is decoded than must be."""
    stream.thread_type = "AUTO"
    times = sorted(packet.pts for packet in film.demux(stream) if packet.pts is not None)
    if not times:
        raise ImageError(f"{str(path)!r} has no frame with a time: save it anew as .mp4")
    number = min(number, len(times))
    found = []
    for index in range(number):
        wanted = times[(2 * index + 1) * len(times) // (2 * number)]
        # To the last whole image before; the frames after it say what has changed.
        film.seek(wanted, stream=stream)
        for frame in film.decode(stream):
            if frame.pts is not None and frame.pts >= wanted:
                found.append(frame.to_image().rotate(frame.rotation, expand=True))
                break
    if not found:
        raise ImageError(f"{str(path)!r} has {len(times)} frames, none readable: get it again")
    return found
