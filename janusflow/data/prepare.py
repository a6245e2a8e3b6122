"""Pictures from files to what the model's two halves take (paper section 4.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from janusflow.data.cache import NO_CACHE, ImageCache, picture_key
from janusflow.model.configuration import JanusFlowConfig
from janusflow.processing.image_files import ImageInput, open_image
from janusflow.processing.images import (
    JanusFlowImageProcessor,
    crop_for_generation,
    to_latent_range,
)
from janusflow.processing.processor import JanusFlowProcessor


class Drawn(NamedTuple):
    """A square of a picture to draw, as far as it is known: see `GenerationSample`."""

    pixel_values: Float[Tensor, "c_pixel y_pixel x_pixel"] | None
    latent: Float[Tensor, "c y x"] | None = None
    features: Float[Tensor, "p w"] | None = None


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures become tensors for one model."""

    image_processor: JanusFlowImageProcessor
    drawing_size: int
    """Rows and columns of a picture to draw, in pixels."""
    image_tag: str
    """Stands for a picture in a question."""
    crops: int | None = None
    """Squares of a picture to draw that may be cut out; None for any."""
    cache: ImageCache = NO_CACHE
    """Where pictures are taken from instead, opened only if they must be."""
    on_open: Callable[[Image.Image], None] = lambda _: None
    """Called with every picture that is opened, e.g. to note its size."""

    def seen(self, picture: ImageInput) -> Float[Tensor, "c y x"] | Float[Tensor, "p w"]:
        """A picture to understand, all of it, padded to a square; or its features from a cache."""
        if self.cache.seen_features is not None:
            return self.cache.seen_features.read(picture_key(picture), 0)
        return self.image_processor.preprocess(self._opened(picture))["pixel_values"][0]

    def drawn(self, picture: ImageInput, rng: np.random.Generator) -> Drawn:
        """A picture to draw: its shorter side fitted, a square cut out at random."""
        if self.crops is not None:
            return self.crop(picture, int(rng.integers(self.crops)))
        crop = crop_for_generation(self._opened(picture), size=self.drawing_size, rng=rng)
        return Drawn(to_latent_range(crop))

    def crop(self, picture: ImageInput, number: int) -> Drawn:
        """One of the squares, spread evenly from one end of the longer side to the other.

        Latent and features are those of a cache, pixels are missing if they are not wanted then.
        """
        assert self.crops is not None
        latent, features = (
            None if store is None else store.read(picture_key(picture), number)
            for store in (self.cache.latents, self.cache.drawn_features)
        )
        if not self.cache.keeps_pixels:
            return Drawn(None, latent, features)
        place = number / (self.crops - 1) if self.crops > 1 else 0.5
        crop = crop_for_generation(self._opened(picture), size=self.drawing_size, place=place)
        return Drawn(to_latent_range(crop), latent, features)

    def _opened(self, picture: ImageInput) -> Image.Image:
        image = open_image(picture)
        self.on_open(image)
        return image


def preparation(
    processor: JanusFlowProcessor,
    config: JanusFlowConfig,
    vae: AutoencoderKL,
    *,
    crops: int | None = None,
) -> Preparation:
    """How pictures of any size are made to fit a model."""
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    return Preparation(
        image_processor=processor.image_processor,
        drawing_size=config.generation.latent_size * factor,
        image_tag=processor.image_tag,
        crops=crops,
    )
