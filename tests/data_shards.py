"""Twenty captioned images in three files of each kind that can be streamed."""

import io
import tarfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from data_files import write_image, write_lines
from PIL import Image

LENGTHS = (7, 4, 9)
NUM_ROWS = sum(LENGTHS)


def image_bytes(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (24, 20), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def as_lines(path: Path, captions: list[str]) -> None:
    """Images are files beside the lines."""
    shades = [int(caption.split()[1]) for caption in captions]
    for shade in shades:
        write_image(path.parent / f"{shade}.png", (shade, 0, 0))
    write_lines(
        path, *({"image": f"{s}.png", "caption": c} for s, c in zip(shades, captions, strict=True))
    )


def as_parquet(path: Path, captions: list[str]) -> None:
    images = [{"bytes": image_bytes(int(caption.split()[1])), "path": None} for caption in captions]
    pq.write_table(pa.table({"image": images, "caption": captions}), path)


def as_tar(path: Path, captions: list[str]) -> None:
    with tarfile.open(path, "w") as tar:
        for number, caption in enumerate(captions):
            content = {"png": image_bytes(int(caption.split()[1])), "txt": caption.encode()}
            for end, data in content.items():
                member = tarfile.TarInfo(f"{path.stem}{number:03d}.{end}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "jsonl": as_lines,
    "jsonl.gz": as_lines,
    "parquet": as_parquet,
    "tar": as_tar,
}


def write_shards(folder: Path, end: str) -> str:
    """Twenty captioned images in three files; returns the pattern of their names."""
    folder.mkdir(exist_ok=True)
    numbers = iter(range(NUM_ROWS))
    for shard, length in enumerate(LENGTHS):
        captions = [f"number {number}" for number in islice(numbers, length)]
        WRITERS[end](folder / f"{shard}.{end}", captions)
    return str(folder / f"*.{end}")
