"""Feature networks: by what a Frechet or kernel distance compares two sets of images.

Images come to the network the way clean-fid brings them (Parmar et al. 2022): all of the image,
whatever its aspect ratio, resized to a square by Pillow's bicubic filter in float32, values 0 to
255.
"""

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from janusflow.config.errors import CheckpointError, ConfigError, DataError, NotFiniteError
from janusflow.inference.functions import load_function
from janusflow.inference.loading import choose_device
from janusflow.processing.image_files import READABLE_FORMATS, open_image

INCEPTION_SHA256 = "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
"""Of inception-2015-12-05.pt, the TorchScript of FID's own network that StyleGAN2-ADA published."""
IMAGE_SIZE = 299
"""Pixels a side that Inception takes; another network says its own as `image_size`."""
BATCH_SIZE = 32


class Inception(nn.Module):
    """The published TorchScript as clean-fid calls it: it is told to resize nothing."""

    def __init__(self, script: Any) -> None:
        super().__init__()
        self.layers: nn.Module = script.layers

    def forward(self, images: Float[Tensor, "b c y x"]) -> Float[Tensor, "b d"]:
        """Features of images whose values are 0 to 255."""
        return self.layers((images - 128) / 128).flatten(1)


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """A network from float32 images [b 3 size size], values 0 to 255, to features [b d]."""

    name: str
    """As the report has it: a digest of the file, or the function."""
    network: nn.Module
    size: int

    @torch.no_grad()
    def features(
        self, images: Sequence[Path], *, resolution: int | None, called: str
    ) -> Float[np.ndarray, "n d"]:
        """Features of image files, in their order, float32.

        Args:
            resolution: pixels a side that all images are brought to first; None leaves them.
            called: what the progress bar says.

        Raises:
            NotFiniteError: the network gives something else than finite numbers.
        """
        device = choose_device("auto")
        network = self.network.to(device).eval()
        found = []
        for start in tqdm(range(0, len(images), BATCH_SIZE), desc=f"features, {called}"):
            paths = images[start : start + BATCH_SIZE]
            batch = [
                as_input(open_image(path), size=self.size, resolution=resolution) for path in paths
            ]
            features = network(torch.stack(batch).to(device)).flatten(1).float().cpu()
            for path, is_finite in zip(paths, features.isfinite().all(1).tolist(), strict=True):
                if not is_finite:
                    raise NotFiniteError(
                        f"--features {self.name} gave features of {path} that are not finite, "
                        "wanted finite numbers: name another network."
                    )
            found.append(features.numpy())
        return np.concatenate(found)


def as_input(
    image: Image.Image, *, size: int, resolution: int | None = None
) -> Float[Tensor, "3 y x"]:
    """An image for a network, values 0 to 255.

    Args:
        image: RGB, of any aspect ratio.
        size: pixels a side that the network takes.
        resolution: pixels a side in between, of the centre square by Lanczos' filter, as in
            GigaGAN's evaluation.
    """
    if resolution is not None:
        shorter = min(image.size)
        left, top = ((side - shorter) // 2 for side in image.size)
        image = image.crop((left, top, left + shorter, top + shorter))
        image = image.resize((resolution, resolution), Image.Resampling.LANCZOS)
    channels = [
        np.asarray(
            Image.fromarray(np.asarray(channel, dtype=np.float32)).resize(
                (size, size), Image.Resampling.BICUBIC
            )
        )
        for channel in image.split()
    ]
    return torch.from_numpy(np.stack(channels))


def load_features(spec: str, *, sha256: str | None = None) -> FeatureNetwork:
    """Load the network that `--features` names.

    Args:
        spec: a TorchScript file, or `module:function` of a function that makes an `nn.Module`.
        sha256: the digest of the file to accept; None is that of FID's own Inception.

    Raises:
        CheckpointError: the file has another digest, or is no TorchScript.
        ConfigError: there is no such function, or it makes something else.
        DataError: the file cannot be read.
    """
    path = Path(spec).expanduser()
    if path.suffix or path.exists():
        name, network = _load_script(path, wanted=(sha256 or INCEPTION_SHA256).lower())
    else:
        name, network = spec, load_function(spec, option="--features")()
    if not isinstance(network, nn.Module):
        raise ConfigError(f"--features {spec}: got a {type(network).__name__}, wanted a Module.")
    size = getattr(network, "image_size", IMAGE_SIZE)
    return FeatureNetwork(name=name, network=network, size=size)


def _load_script(path: Path, *, wanted: str) -> tuple[str, nn.Module]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"--features {path} cannot be read ({error.strerror}): name a TorchScript file such "
            "as inception-2015-12-05.pt, or module:function."
        ) from None
    got = hashlib.sha256(content).hexdigest()
    if got != wanted:
        raise CheckpointError(
            f"--features {path}: got SHA-256 {got}, wanted {wanted}. Get the file again, or say "
            f"--features-sha256 {got} to accept this one, whose code will run."
        )
    try:
        with warnings.catch_warnings():
            # TorchScript is what FID's network was published as, and is.
            warnings.simplefilter("ignore", DeprecationWarning)
            script = torch.jit.load(io.BytesIO(content), map_location="cpu")
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"--features {path}: got no TorchScript ({reason}).") from None
    return f"SHA-256 {got[:16]}", Inception(script) if got == INCEPTION_SHA256 else script


def images_in(folder: Path) -> list[Path]:
    """Every image file of a folder and those in it, by name.

    Raises:
        DataError: there is none.
    """
    known = Image.registered_extensions()
    found = sorted(p for p in folder.rglob("*") if known.get(p.suffix.lower()) in READABLE_FORMATS)
    if not found:
        raise DataError(f"--images {folder}: got no image file in it. Name another folder.")
    return found
