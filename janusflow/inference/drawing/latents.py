"""Images and latents: the VAE on both sides of the flow, and masks on its grid.

Latents are scaled and shifted as the VAE's configuration says, so that the flow's data has about
unit variance.
"""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from janusflow.config.errors import ConfigError, NotFiniteError
from janusflow.interop.vae import decode_images, encode_images
from janusflow.processing.images import crop_for_generation, to_images, to_latent_range

WHITE = 255
MADE = {
    "latent": "check the model's weights, or use a smaller guidance.",
    "decoding": "check the VAE's weights, or use dtype=float32.",
}
"""What must be finite, and what to do where it is not."""


def vae_factor(vae: AutoencoderKL) -> int:
    """Pixels per latent cell along each axis."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def check_size(wanted: str, *, trained: int) -> None:
    """Refuse all sizes but the one that a model was trained to draw.

    Its network would take others, but positions and proportions were learnt at this one.

    Args:
        wanted: WIDTHxHEIGHT in pixels.
        trained: pixels a side.

    Raises:
        ConfigError: it is another, or no size.
    """
    if wanted.lower().replace(" ", "") != f"{trained}x{trained}":
        raise ConfigError(
            f"size={wanted}: this model draws {trained}x{trained}, the size that it was trained "
            "for. Leave the size out, and scale or crop the image."
        )


@torch.no_grad()
def decode_latents(
    vae: AutoencoderKL,
    latents: Float[Tensor, "b c y x"],
    *,
    names: Sequence[str] | None = None,
) -> list[Image.Image]:
    """Decode latents to RGB images.

    Args:
        vae: decodes on its own device.
        latents: on any device.
        names: what to call each image in an error.

    Raises:
        NotFiniteError: a latent or what it is decoded to is not finite, so that it is no image.
    """
    latents = latents.to(vae.device)
    pixels = decode_images(vae, latents)
    # Looked at together, so that the device is waited for once.
    finite = [latents.isfinite().flatten(1).all(1), pixels.isfinite().flatten(1).all(1)]
    for (what, advice), are_finite in zip(MADE.items(), torch.stack(finite).tolist(), strict=True):
        if not all(are_finite):
            index = are_finite.index(False)
            name = f"image {index + 1} of {len(latents)}" if names is None else names[index]
            raise NotFiniteError(f"the {what} of {name} is not finite, so it is no image: {advice}")
    return to_images(pixels)


@torch.no_grad()
def encode_image(vae: AutoencoderKL, image: Image.Image, *, size: int) -> Float[Tensor, "1 c y x"]:
    """Encode the central square of an image, as size x size pixels, to the latent's mean."""
    return encode_images(vae, to_latent_range(crop_for_generation(image, size=size))[None])


def mask_on_latents(mask: Image.Image, *, factor: int) -> Bool[Tensor, "1 1 y x"]:
    """Mark the latent cells in which any pixel of a black and white mask is white."""
    levels = torch.from_numpy(np.array(mask))
    cells = rearrange(levels > 0, "(y fy) (x fx) -> 1 1 y x (fy fx)", fy=factor, fx=factor)
    return cells.any(-1)


def prepare_mask(mask: Image.Image, *, size: int) -> Image.Image:
    """Crop and resize a mask as its image, and make it black and white: half white is white."""
    square = crop_for_generation(mask.convert("L"), size=size)
    return square.point([WHITE * (level > WHITE // 2) for level in range(WHITE + 1)])
