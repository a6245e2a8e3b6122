"""An image to start from and a mask, as people give them, made ready for drawing."""

import hashlib
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageChops
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.flow import PathPoint, point_on_path
from janusflow.inference.drawing.best_of import Pipeline
from janusflow.inference.drawing.latents import (
    encode_image,
    mask_on_latents,
    prepare_mask,
    vae_factor,
)
from janusflow.processing.images import ImageInput, crop_for_generation, open_image

VARIATION_STRENGTH = 0.6
"""Strength without a mask, unless given: the layout stays, the details do not."""
FREE_STRENGTH = 1.0
"""Strength with a mask or inversion, unless given: all that is drawn is drawn freely."""


@dataclass(frozen=True, kw_only=True)
class InitImage:
    """An image to start from (SDEdit, Meng et al. 2021), and what of it may change."""

    latent: Float[Tensor, "n c y x"]
    """One for all images of the batch, or one each."""
    strength: float
    """How much of the path is walked: it starts at t = 1 - strength."""
    mask: Bool[Tensor, "m 1 y x"] | None = None
    """True is drawn anew, False is kept; None draws all of it anew."""
    inverted_noise: Float[Tensor, "n c y x"] | None = None
    """Where the drawing starts, if not between a seed's noise and the image (inversion.py)."""
    invert: str | None = None
    """What the image is said to show, if it is inverted."""
    pixels: Image.Image | None = None
    """The image at the size that is drawn; its pixels outside `inside` come back at the end."""
    inside: Image.Image | None = None
    """The mask at that size, white where it is drawn anew."""
    image_sha256: str | None = None
    mask_sha256: str | None = None
    """For the record: of the RGB pixels as they were given, row by row."""

    def __post_init__(self) -> None:
        if not 0.0 < self.strength <= 1.0:
            raise ConfigError(
                f"strength={self.strength} is outside (0, 1]: 1 draws freely, small values stay "
                "close to the image. Use 0.6 to begin with."
            )

    def start(self, noise: Float[Tensor, "b c y x"]) -> PathPoint:
        """Where on the straight path from this noise to this image the drawing starts."""
        t = torch.full((len(noise),), 1.0 - self.strength, device=noise.device)
        if self.inverted_noise is not None:
            velocity = (self.latent - self.inverted_noise) / self.strength
            x_t, velocity = (each.expand_as(noise) for each in (self.inverted_noise, velocity))
            return PathPoint(x_t=x_t, t=t, velocity=velocity)
        return point_on_path(data=self.latent.expand_as(noise), noise=noise, t=t)

    def restore(self, drawn: Image.Image) -> None:
        """Put its own pixels outside the mask: the VAE alone would change them a little."""
        if self.pixels is not None and self.inside is not None:
            drawn.paste(self.pixels, mask=ImageChops.invert(self.inside))


def prepare_init_image(
    jf: Pipeline,
    image: ImageInput | None,
    strength: float | None = None,
    mask: ImageInput | None = None,
    invert: str | None = None,
) -> InitImage | None:
    """Encode the image's central square and bring the mask on its grid; None without one.

    The other arguments are those of `JanusFlow.generate`. Inversion waits for the settings.

    Raises:
        ConfigError: strength, mask or inversion without an image, or a strength outside (0, 1].
    """
    if image is None:
        if strength is not None or mask is not None or invert is not None:
            raise ConfigError(
                f"strength={strength}, invert={invert} and {'a' if mask is not None else 'no'} "
                "mask without init_image: pass the image to start from."
            )
        return None
    size, device = jf.image_size, jf.model.device
    opened = open_image(image)
    opened_mask = None if mask is None else open_image(mask)
    inside = None if opened_mask is None else prepare_mask(opened_mask, size=size)
    cells = None if inside is None else mask_on_latents(inside, factor=vae_factor(jf.vae))
    default = VARIATION_STRENGTH if mask is None and invert is None else FREE_STRENGTH
    return InitImage(
        latent=encode_image(jf.vae, opened, size=size).to(device),
        strength=default if strength is None else strength,
        mask=None if cells is None else cells.to(device),
        invert=invert,
        pixels=crop_for_generation(opened, size=size),
        inside=inside,
        image_sha256=_sha256(opened),
        mask_sha256=None if opened_mask is None else _sha256(opened_mask),
    )


def _sha256(image: Image.Image) -> str:
    return hashlib.sha256(image.convert("RGB").tobytes()).hexdigest()
