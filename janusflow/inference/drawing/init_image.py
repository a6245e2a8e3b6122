"""An image to start from and a mask, as people give them, made ready for drawing."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.inference.drawing.latents import (
    encode_image,
    mask_on_latents,
    prepare_mask,
    vae_factor,
)
from janusflow.inference.drawing.sampling import InitImage
from janusflow.processing.images import ImageInput, crop_for_generation, open_image

VARIATION_STRENGTH = 0.6
"""Strength without a mask, unless given: the layout stays, the details do not."""
FREE_STRENGTH = 1.0
"""Strength with a mask or inversion, unless given: all that is drawn is drawn freely."""


class InitImageInput(NamedTuple):
    """What a person says about an image to start from; all None without one."""

    init_image: ImageInput | None
    strength: float | None
    mask: ImageInput | None
    invert: str | None
    """What it shows, to start from its own noise; "" says nothing."""

    def keep(self, images: Sequence[Image.Image]) -> list[Image.Image]:
        """Put its own pixels outside the mask: the VAE alone would change them a little."""
        if self.init_image is None or self.mask is None:
            return list(images)
        size = images[0].width
        kept = crop_for_generation(open_image(self.init_image), size=size)
        inside = prepare_mask(open_image(self.mask), size=size)
        return [Image.composite(drawn, kept, inside) for drawn in images]


def prepare_original(
    given: InitImageInput, *, vae: AutoencoderKL, size: int, device: torch.device
) -> InitImage | None:
    """Encode the image's central square and bring the mask on its grid; None without one.

    Raises:
        ConfigError: strength, mask or inversion without an image, or a strength outside (0, 1].
    """
    init_image, strength, mask, invert = given
    if init_image is None:
        if given != InitImageInput(None, None, None, None):
            raise ConfigError(
                f"strength={strength}, invert={invert} and {'a' if mask is not None else 'no'} "
                "mask without init_image: pass the image to start from."
            )
        return None
    cells = None
    if mask is not None:
        black_and_white = prepare_mask(open_image(mask), size=size)
        cells = mask_on_latents(black_and_white, factor=vae_factor(vae)).to(device)
    default = VARIATION_STRENGTH if mask is None and invert is None else FREE_STRENGTH
    return InitImage(
        latent=encode_image(vae, open_image(init_image), size=size).to(device),
        strength=default if strength is None else strength,
        mask=cells,
    )
