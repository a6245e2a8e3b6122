"""Objectives for the parts the paper takes pretrained and `mini` makes itself: VAE and SigLIP.

The language model needs no objective of its own: it is `JanusFlowObjective` on text alone.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize
from transformers import SiglipModel

from janusflow.flow.noise import sample_noise
from janusflow.mini.scenes.regions import NOWHERE
from janusflow.training.objectives.base import Objective


@dataclass(frozen=True, kw_only=True)
class ImageBatch:
    """Images in [-1, 1], and what decides each one's draw from its latent's posterior."""

    pixel_values: Float[Tensor, "n c y x"]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.pixel_values)


@dataclass(frozen=True, kw_only=True)
class RegionBatch:
    """Images in [-1, 1], their regions, one phrase a region, and which phrase is true of which.

    `region_of_patch` is NOWHERE where two things share a patch.
    """

    pixel_values: Float[Tensor, "n c y x"]
    region_of_patch: Int[Tensor, "n p"]
    token_ids: Int[Tensor, "k t"]
    is_true: Bool[Tensor, "k k"]
    """Phrases (rows) of regions (columns)."""

    def __len__(self) -> int:
        return len(self.pixel_values)

    def of(self, images: Int[np.ndarray, " m"]) -> "RegionBatch":
        """Some of the images with the phrases of all, so that a split step stays the step.

        Every patch meets every phrase of a step without a message between processes; the price is
        that each of its batches reads all phrases.
        """
        return replace(
            self,
            pixel_values=self.pixel_values[images],
            region_of_patch=self.region_of_patch[images],
        )


class VaeObjective(Objective):
    """Reconstruct images through a narrow Gaussian latent (Kingma and Welling 2014).

    No adversarial or perceptual term: the images are flat shapes, and absolute error keeps
    their edges.
    """

    def __init__(self, vae: AutoencoderKL, *, kl_weight: float) -> None:
        super().__init__()
        self.vae = vae
        self.kl_weight = kl_weight

    def loss_counts(self, batch: ImageBatch) -> dict[str, int]:
        """Pixel values, and latent values."""
        num_images, _, rows, columns = batch.pixel_values.shape
        config = self.vae.config
        shrinks = 4 ** (len(config["block_out_channels"]) - 1)
        num_latent = num_images * config["latent_channels"] * rows * columns // shrinks
        num_pixel = batch.pixel_values.numel()
        return {"absolute": num_pixel, "squared": num_pixel, "kl": num_latent}

    def forward(self, batch: ImageBatch) -> dict[str, Tensor]:
        """Absolute plus squared error of the pixels, and KL in nats."""
        (posterior,) = self.vae.encode(batch.pixel_values, return_dict=False)
        shape, device = posterior.mean.shape[1:], posterior.mean.device
        noise = sample_noise(tuple(shape), seeds=list(batch.seeds), device=device)
        latent: Any = posterior.mean + posterior.std * noise
        (decoded,) = self.vae.decode(latent, return_dict=False)
        error = decoded - batch.pixel_values
        return {
            "absolute": error.abs().sum(),
            "squared": error.square().sum(),
            "kl": self.kl_weight * posterior.kl().sum(),
        }


class SiglipObjective(Objective):
    """Pairwise sigmoid loss (Zhai et al. 2023, SigLIP) between patches and phrases.

    The pairs are regions and their names, as in RegionCLIP (Zhong et al. 2022), instead of whole
    images and captions: those ask a small tower for nothing local, and its patches end up all
    saying the same (benchmarks/notes.md).
    """

    def __init__(self, siglip: SiglipModel) -> None:
        super().__init__()
        self.siglip = siglip
        nn.init.constant_(siglip.logit_scale, 2.3)  # log 10, as the paper starts
        # The paper starts at -10 because one pair in 32,000 is true; here about one in twenty is,
        # and at this rate AdamW would take thousands of steps to come back from -10.
        nn.init.constant_(siglip.logit_bias, -3.0)

    def loss_counts(self, batch: RegionBatch) -> dict[str, int]:
        """Regions that patches show."""
        shown = batch.region_of_patch.unique()
        return {"sigmoid": int((shown != NOWHERE).sum())}

    def logits(self, batch: RegionBatch) -> tuple[Float[Tensor, "m k"], Int[Tensor, " m"]]:
        """Of every patch that shows a region with every phrase, and those regions."""
        seen = self.siglip.vision_model(pixel_values=batch.pixel_values).last_hidden_state
        # Many regions go by the same words: each phrase is read once.
        phrases, phrase_of_region = batch.token_ids.unique(dim=0, return_inverse=True)
        read = self.siglip.text_model(input_ids=phrases).pooler_output[phrase_of_region]
        has_region = batch.region_of_patch != NOWHERE
        region = batch.region_of_patch[has_region]
        # At first all phrases read nearly alike; what they share is taken off, or shape words and
        # shape features, both small, would wait for one another.
        read = read - read.mean(0)
        logits = normalize(seen[has_region], dim=-1) @ normalize(read, dim=-1).T
        return logits * self.siglip.logit_scale.exp() + self.siglip.logit_bias, region

    def forward(self, batch: RegionBatch) -> dict[str, Tensor]:
        """Every patch against every phrase of the batch, summed; each region counts alike."""
        logits, region = self.logits(batch)
        loss = -logsigmoid(torch.where(batch.is_true.T[region], logits, -logits)).sum(-1)
        weight = 1 / region.bincount()[region]
        return {"sigmoid": (weight * loss).sum()}
