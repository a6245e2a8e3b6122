"""A picture to start from and a mask, as people give them, made ready for drawing."""

from collections.abc import Sequence

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.inference.drawing import Original
from janusflow.inference.pictures import (
    encode_picture,
    mask_on_latents,
    prepare_mask,
    vae_factor,
)
from janusflow.processing.images import Picture, crop_for_generation, open_image

VARIATION_STRENGTH = 0.6
"""Strength without a mask, unless given: the layout stays, the details do not."""
MASKED_STRENGTH = 1.0
"""Strength with a mask, unless given: what is inside is drawn freely."""


def prepare_original(
    init_image: Picture | None,
    *,
    strength: float | None,
    mask: Picture | None,
    vae: AutoencoderKL,
    size: int,
    device: torch.device,
) -> Original | None:
    """Encode the picture's central square and bring the mask on its grid; None without one.

    Raises:
        ConfigError: strength or mask without a picture, or a strength outside (0, 1].
    """
    if init_image is None:
        if strength is not None or mask is not None:
            raise ConfigError(
                f"strength={strength} and {'a' if mask is not None else 'no'} mask without "
                "init_image: pass the picture to start from."
            )
        return None
    cells = None
    if mask is not None:
        black_and_white = prepare_mask(open_image(mask), size=size)
        cells = mask_on_latents(black_and_white, factor=vae_factor(vae)).to(device)
    default = VARIATION_STRENGTH if mask is None else MASKED_STRENGTH
    return Original(
        latent=encode_picture(vae, open_image(init_image), size=size).to(device),
        strength=default if strength is None else strength,
        mask=cells,
    )


def keep_pixels_outside(
    pictures: Sequence[Image.Image], original: Picture, *, mask: Picture
) -> list[Image.Image]:
    """Put the original's own pixels outside the mask: the VAE alone would change them a little."""
    size = pictures[0].width
    kept = crop_for_generation(open_image(original), size=size)
    inside = prepare_mask(open_image(mask), size=size)
    return [Image.composite(drawn, kept, inside) for drawn in pictures]
