"""Small data files in the layouts people publish, and sources opened on them."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from janusflow.config.data import SourceConfig
from janusflow.data.batches.mixture import Kind
from janusflow.data.prepare import Preparation
from janusflow.data.sources.base import Source
from janusflow.data.sources.formats import open_source
from janusflow.processing.images import JanusFlowImageProcessor

TAG = "<image_placeholder>"
PREPARE = Preparation(
    image_processor=JanusFlowImageProcessor(image_size=32), drawing_size=16, image_tag=TAG
)
RED, BLUE = (250, 0, 0), (0, 0, 250)
STEP = 8
"""Grey levels from one frame of a film to the next."""


def write_image(path: Path, colour: tuple[int, int, int] = RED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20), colour).save(path, quality=100)
    return path


def write_json(path: Path, content: Any) -> str:
    path.write_text(json.dumps(content), encoding="utf-8")
    return str(path)


def write_lines(path: Path, *rows: Any) -> str:
    text = "\n".join(json.dumps(row) for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return str(path)


def opened(kind: Kind, format_name: str, path: str, **settings: Any) -> Source:
    config = SourceConfig(format=format_name, path=path, **settings)
    ((source, _),) = open_source(kind, config, PREPARE)
    return source


def sample(source: Source, row: int = 0) -> Any:
    return source.sample(row, np.random.default_rng(0))


def write_film(path: Path, *, frames: int, keyframes_apart: int = 12) -> Path:
    """Frame i is grey of level STEP * i; needs PyAV."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.gop_size = keyframes_apart
        for index in range(frames):
            grey = np.full((48, 64, 3), STEP * index, dtype=np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        film.mux(stream.encode())
    return path
