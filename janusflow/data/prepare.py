"""Images from files to what the model's two halves take (paper section 4.1)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from janusflow.data.cache import NO_CACHE, ImageCache, image_key
from janusflow.model.configuration import JanusFlowConfig
from janusflow.processing.image_files import ImageInput, open_image
from janusflow.processing.images import (
    JanusFlowImageProcessor,
    crop_for_generation,
    to_latent_range,
)
from janusflow.processing.processor import JanusFlowProcessor


class PreparedImage(NamedTuple):
    """A square of an image to draw, as far as it is known: see `GenerationSample`."""

    pixel_values: Float[Tensor, "c_pixel y_pixel x_pixel"] | None
    latent: Float[Tensor, "c y x"] | None = None
    features: Float[Tensor, "p w"] | None = None


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How images become tensors for one model."""

    image_processor: JanusFlowImageProcessor
    drawing_size: int
    """Rows and columns of an image to draw, in pixels."""
    image_tag: str
    """Stands for an image in a question."""
    crops: int | None = None
    """Squares of an image to draw that may be cut out; None for any."""
    cache: ImageCache = NO_CACHE
    """Where images are taken from instead, opened only if they must be."""
    on_open: Callable[[Image.Image], None] = lambda _: None
    """Called with every image that is opened, e.g. to note its size."""

    def for_understanding(self, image: ImageInput) -> Float[Tensor, "c y x"] | Float[Tensor, "p w"]:
        """An image to understand, all of it, padded to a square; or its features from a cache."""
        if self.cache.understanding_features is not None:
            return self.cache.understanding_features.read(image_key(image), 0)
        return self.image_processor.preprocess(self._opened(image))["pixel_values"][0]

    def for_generation(self, image: ImageInput, rng: np.random.Generator) -> PreparedImage:
        """An image to draw: its shorter side fitted, a square cut out at random."""
        if self.crops is not None:
            return self.crop(image, int(rng.integers(self.crops)))
        crop = crop_for_generation(self._opened(image), size=self.drawing_size, rng=rng)
        return PreparedImage(to_latent_range(crop))

    def crop(self, image: ImageInput, number: int) -> PreparedImage:
        """One of the squares, spread evenly from one end of the longer side to the other.

        Latent and features are those of a cache, pixels are missing if they are not wanted then.
        """
        assert self.crops is not None
        latent, features = (
            None if store is None else store.read(image_key(image), number)
            for store in (self.cache.latents, self.cache.generation_features)
        )
        if not self.cache.keeps_pixels:
            return PreparedImage(None, latent, features)
        place = number / (self.crops - 1) if self.crops > 1 else 0.5
        crop = crop_for_generation(self._opened(image), size=self.drawing_size, place=place)
        return PreparedImage(to_latent_range(crop), latent, features)

    def _opened(self, image: ImageInput) -> Image.Image:
        image = open_image(image)
        self.on_open(image)
        return image


def preparation(
    processor: JanusFlowProcessor,
    config: JanusFlowConfig,
    vae: AutoencoderKL,
    *,
    crops: int | None = None,
) -> Preparation:
    """How images of any size are made to fit a model."""
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    return Preparation(
        image_processor=processor.image_processor,
        drawing_size=config.generation.latent_size * factor,
        image_tag=processor.image_tag,
        crops=crops,
    )
