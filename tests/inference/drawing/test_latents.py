"""Latents to images and back, and masks on the latent grid."""

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.inference.drawing.latents import (
    decode_latents,
    encode_image,
    mask_on_latents,
    prepare_mask,
    vae_factor,
)


def test_the_latent_grid_is_the_image_over_the_vae_factor(vae: AutoencoderKL):
    latent = encode_image(vae, Image.new("RGB", (100, 80), "red"), size=64)
    assert latent.shape == (1, 4, 64 // vae_factor(vae), 64 // vae_factor(vae))
    assert [image.size for image in decode_latents(vae, latent)] == [(64, 64)]


def test_decoding_divides_by_the_scaling_factor_that_encoding_multiplied_by(vae: AutoencoderKL):
    """Against the VAE's own calls on unscaled latents."""
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    latent = encode_image(vae, image, size=64)
    pixels = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        unscaled = vae.encode(pixels).latent_dist.mode()
        decoded = vae.decode(unscaled).sample
    torch.testing.assert_close(latent, unscaled * 0.5, atol=1e-5, rtol=1e-5)
    expected = ((decoded[0].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0).numpy()
    drawn = np.asarray(decode_latents(vae, latent)[0]).astype(float)
    assert np.abs(drawn - expected).max() <= 0.5 + 1e-3


def test_a_cell_is_drawn_if_any_pixel_of_it_is_marked():
    mask = Image.new("L", (64, 64), 0)
    mask.putpixel((17, 9), 255)
    mask.putpixel((40, 40), 100)  # darker than half: not marked
    cells = mask_on_latents(prepare_mask(mask, size=64), factor=8)
    assert cells.nonzero().tolist() == [[0, 0, 1, 2]]


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_masks_come_in_any_mode(mode: str):
    mask = Image.new("L", (32, 32), 255).convert(mode)
    assert prepare_mask(mask, size=16).getcolors() == [(256, 255)]
