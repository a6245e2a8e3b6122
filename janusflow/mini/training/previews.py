"""Samples of the parts that `mini` makes itself, on what it never trains on."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from transformers import SiglipConfig, SiglipModel

from janusflow.interop.vae import decode_images, encode_images, psnr
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import Scene, sample_scene
from janusflow.mini.training.objectives import RegionBatch, SiglipObjective
from janusflow.processing.images import to_images
from janusflow.training.report.previews import Sample, SampleHook, Shown, contact_sheet
from janusflow.training.report.trackers import Tracker

HELD_OUT_SEED = 0
NUM_REBUILT, NUM_NAMED = 16, 64
"""Scenes that a VAE rebuilds, and whose regions a SigLIP names."""


def held_out(number: int, *, size: int) -> tuple[list[Scene], UInt8[np.ndarray, "n y x 3"]]:
    """Scenes that no training folder holds, always the same ones, and their images."""
    rngs = [np.random.default_rng((HELD_OUT_SEED, index)) for index in range(number)]
    scenes = [sample_scene(rng, split="heldout") for rng in rngs]
    return scenes, np.stack([np.asarray(render(scene, size=size)) for scene in scenes])


class VaeSamples(SampleHook):
    """Images in [-1, 1], each with its reconstruction by `new()` filled, and how near they are."""

    def __init__(
        self,
        new: Callable[[], AutoencoderKL],
        images: Float[Tensor, "n c y x"],
        *,
        every: int,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        super().__init__(every, "vae", trackers)
        self.new = new
        self.pixel_values = images

    def sample(self, weights: dict[str, Tensor]) -> Sample:
        """Encode to the mean latent and decode."""
        vae = self.new().eval()
        vae.load_state_dict(weights)
        rebuilt = decode_images(vae, encode_images(vae, self.pixel_values))
        pairs = torch.cat((self.pixel_values, rebuilt), dim=-1)
        sheet = contact_sheet(to_images(pairs))
        caption = "images (left) and their reconstructions (right)"
        return Sample(
            numbers={"psnr": psnr(rebuilt, self.pixel_values)},
            sheet=sheet,
            shown=[Shown(name="reconstructions", image=sheet, caption=caption)],
        )


class SiglipSamples(SampleHook):
    """How often regions find phrases that are true of them, and phrases such regions."""

    def __init__(
        self,
        config: SiglipConfig,
        batch: RegionBatch,
        *,
        every: int,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        super().__init__(every, "siglip", trackers)
        self.config, self.batch = config, batch

    def sample(self, weights: dict[str, Tensor]) -> Sample:
        """Compare every region with every phrase."""
        objective = SiglipObjective(SiglipModel(self.config)).eval()
        objective.siglip.load_state_dict(weights)
        logits, region = objective.logits(self.batch)
        return Sample(numbers=retrieval(logits, region, self.batch.is_true))


def retrieval(
    logits: Float[Tensor, "m k"], region: Int[Tensor, " m"], is_true: Bool[Tensor, "k k"]
) -> dict[str, float]:
    """Share of regions whose likeliest phrase is true of them, of phrases likewise, and by chance.

    A region's logits are the mean of its patches'. What no patch shows is left out.

    Args:
        logits: of patches (rows) with phrases (columns).
        region: what each patch shows.
        is_true: phrases (rows) of regions (columns).
    """
    shown, number = region.unique(return_inverse=True)
    sums = logits.new_zeros(len(shown), logits.shape[1]).index_add(0, number, logits)
    means = sums / number.bincount()[:, None]
    fits = is_true.T[shown]
    is_findable = fits.any(0)
    named = fits.gather(1, means.argmax(1, keepdim=True))
    found = fits.gather(0, means.argmax(0, keepdim=True))[:, is_findable]
    return {
        "regions_named": float(named.float().mean()),
        "phrases_found": float(found.float().mean()),
        "by_chance": float(fits.float().mean()),
    }
