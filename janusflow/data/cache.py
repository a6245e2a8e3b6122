"""Latents and features of images that were computed once: stores, and how training reads them.

A store is a folder of safetensors shards: the keys of some images, and a value for each of them.
An image's key is a hash of its file's bytes, so an image of many rows is there once, wherever its
file lies.
"""

import os
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from janusflow.config.errors import CheckpointError, DataError
from janusflow.processing.image_files import ImageInput, open_image, read_image_file

KEYS, VALUES, SHARDS = "keys", "values", "*.safetensors"


def image_key(image: ImageInput) -> int:
    """63 bits of a hash of the image's file: ten million differ with a chance of 1 - 1e-5."""
    if isinstance(image, str | Path | bytes):
        content = image if isinstance(image, bytes) else read_image_file(image)
    else:
        image = image if isinstance(image, Image.Image) else open_image(image)
        content = repr((image.mode, image.size)).encode() + image.tobytes()
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1


class Store:
    """Values by image key; several processes may add to one folder.

    Raises:
        CheckpointError: a shard is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = [self._opened(path) for path in sorted(folder.glob(SHARDS))]
        keys = [file.get_tensor(KEYS).numpy() for file in self._files] or [np.zeros(0, np.int64)]
        shards = [np.full(len(each), number) for number, each in enumerate(keys)]
        rows = [np.arange(len(each)) for each in keys]
        # What two processes have both computed is the same: either will do.
        self._keys, first = np.unique(np.concatenate(keys), return_index=True)
        self._shards, self._rows = (
            np.concatenate(shards or keys)[first],
            np.concatenate(rows)[first],
        )

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: int) -> bool:
        return self._place(key) is not None

    def read(self, key: int, *crop: int) -> Tensor:
        """An image's value in float32, or that of one of its crops; nothing else is read.

        Raises:
            DataError: the image is not there.
        """
        place = self._place(key)
        if place is None:
            raise DataError(
                f"an image is not in the cache {self.folder}: run `janusflow data cache` with "
                "this recipe again, or leave data.cache out."
            )
        values = self._files[self._shards[place]].get_slice(VALUES)
        return values[(int(self._rows[place]), *crop)].float()

    def add(self, keys: Int[Tensor, " n"], values: Shaped[Tensor, "n ..."]) -> None:
        """Write a shard, whole or not at all; this object goes on as it was opened."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = blake2b(keys.numpy().tobytes(), digest_size=8).hexdigest()
        path = self.folder / SHARDS.replace("*", name)
        new = path.with_suffix(f".{os.getpid()}")
        save_file({KEYS: keys, VALUES: values.contiguous()}, new)
        new.replace(path)

    def _place(self, key: int) -> int | None:
        place = int(np.searchsorted(self._keys, key))
        return place if place < len(self) and self._keys[place] == key else None

    def _opened(self, path: Path) -> Any:
        try:
            return safe_open(path, "pt")
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is a damaged part of a cache ({error}): delete it, and run `janusflow "
                "data cache` again."
            ) from error


@dataclass(frozen=True, kw_only=True)
class ImageCache:
    """The stores that images are taken from; of what has none, pixels are prepared."""

    understanding_features: Store | None = None
    """The frozen tower's features of images to understand."""
    latents: Store | None = None
    """Of every crop of images to draw."""
    generation_features: Store | None = None
    """The frozen tower's features of those crops."""
    keeps_pixels: bool = True
    """Whether images to draw are wanted as pixels too."""


NO_CACHE = ImageCache()
"""Everything is made of pixels."""
