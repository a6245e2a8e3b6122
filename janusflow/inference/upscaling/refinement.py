"""Lanczos, and twice as large with the model's own idea of detail and nothing else changed.

Refining makes a Laplacian pyramid of two bands. The low one is the image's; the high one is taken
from the image as the VAE draws it at twice the size: a decoder makes the edges that it has learnt
images to have. How much that is depends on what it was trained on. Drawing the detail with the
flow, in windows of the model's size, was tried and left out: it was no better (docs/drawing.md).
"""

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional

from janusflow.inference.drawing.latents import vae_factor
from janusflow.interop.vae import decode_images, encode_images
from janusflow.processing.images import to_images, to_latent_range

FACTOR = 2


def resized(image: Image.Image, *, factor: int) -> Image.Image:
    """The image so many times as large by Lanczos: no detail is made up, edges stay soft."""
    size = (factor * image.width, factor * image.height)
    return image.resize(size, Image.Resampling.LANCZOS)


@torch.no_grad()
def refined(image: Image.Image, vae: AutoencoderKL) -> Image.Image:
    """The image at twice its size, RGB."""
    large = to_latent_range(resized(image, factor=FACTOR))[None].to(vae.device)
    height, width = large.shape[-2:]
    cell = vae_factor(vae)
    # The VAE takes whole cells only: the last pixels are repeated, and cut off again.
    whole = functional.pad(large, (0, -width % cell, 0, -height % cell), mode="replicate")
    redrawn = decode_images(vae, encode_images(vae, whole)).float()[..., :height, :width]
    return to_images(with_low_band(redrawn, to_latent_range(image)[None].to(redrawn)))[0]


def with_low_band(
    large: Float[Tensor, "b c y2 x2"], small: Float[Tensor, "b c y x"]
) -> Float[Tensor, "b c y2 x2"]:
    """An image's detail on another's low band: averaged over squares it is the small one."""
    for mode in ("bicubic", "nearest"):  # smooth where it can be, then exact
        missing = small - functional.avg_pool2d(large, FACTOR)
        large = large + functional.interpolate(missing, scale_factor=FACTOR, mode=mode)
    return large
