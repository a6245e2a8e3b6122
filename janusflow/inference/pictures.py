"""Pictures and latents: the VAE on both sides of the flow, and masks on its grid.

Latents are scaled and shifted as the VAE's configuration says, so that the flow's data has about
unit variance.
"""

from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from einops import rearrange
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from janusflow.processing.images import crop_for_generation, to_latent_range, to_pictures

WHITE = 255


def vae_factor(vae: AutoencoderKL) -> int:
    """Pixels per latent cell along each axis."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents: Float[Tensor, "b c y x"]) -> list[Image.Image]:
    """Decode latents to RGB pictures."""
    scale, shift = _scale_and_shift(vae)
    unscaled: Any = latents.to(vae.dtype) / scale + shift  # diffusers types it a FloatTensor
    decoded: Any = vae.decode(unscaled)
    return to_pictures(decoded.sample)


@torch.no_grad()
def encode_picture(
    vae: AutoencoderKL, picture: Image.Image, *, size: int
) -> Float[Tensor, "1 c y x"]:
    """Encode the central square of a picture, as size x size pixels, to the latent's mean."""
    scale, shift = _scale_and_shift(vae)
    pixels = to_latent_range(crop_for_generation(picture, size=size))[None]
    encoded: Any = vae.encode(pixels.to(vae.device, vae.dtype))
    return (encoded.latent_dist.mode().float() - shift) * scale


def mask_on_latents(mask: Image.Image, *, factor: int) -> Bool[Tensor, "1 1 y x"]:
    """Mark the latent cells in which any pixel of a black and white mask is white."""
    levels = torch.from_numpy(np.array(mask))
    cells = rearrange(levels > 0, "(y fy) (x fx) -> 1 1 y x (fy fx)", fy=factor, fx=factor)
    return cells.any(-1)


def prepare_mask(mask: Image.Image, *, size: int) -> Image.Image:
    """Crop and resize a mask as its picture, and make it black and white: half white is white."""
    square = crop_for_generation(mask.convert("L"), size=size)
    return square.point([WHITE * (level > WHITE // 2) for level in range(WHITE + 1)])


def _scale_and_shift(vae: AutoencoderKL) -> tuple[float, float]:
    """What latents are multiplied by, and what is subtracted before; the SDXL VAE has no shift."""
    return float(vae.config["scaling_factor"]), float(vae.config.get("shift_factor") or 0.0)
