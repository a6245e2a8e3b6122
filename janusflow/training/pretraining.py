"""Objectives for the parts the paper takes pretrained and `mini` makes itself: VAE and SigLIP.

The language model needs no objective of its own: it is `JanusFlowObjective` on text alone.
"""

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize
from transformers import SiglipModel

from janusflow.training.loop import Objective


@dataclass(frozen=True, kw_only=True)
class PictureBatch:
    """Pictures in [-1, 1]."""

    pixel_values: Float[Tensor, "n c y x"]

    def __len__(self) -> int:
        return len(self.pixel_values)


@dataclass(frozen=True, kw_only=True)
class CaptionedBatch:
    """Pictures in [-1, 1] and one caption each, right padded."""

    pixel_values: Float[Tensor, "n c y x"]
    token_ids: Int[Tensor, "n t"]

    def __len__(self) -> int:
        return len(self.pixel_values)


class VaeObjective(Objective):
    """Reconstruct pictures through a narrow Gaussian latent (Kingma and Welling 2014).

    No adversarial or perceptual term: the pictures are flat shapes, and absolute error keeps
    their edges.
    """

    def __init__(self, vae: AutoencoderKL, *, kl_weight: float) -> None:
        super().__init__()
        self.vae = vae
        self.kl_weight = kl_weight

    def forward(self, batch: PictureBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean absolute plus squared error per pixel value, and KL in nats per latent value."""
        posterior = self.vae.encode(batch.pixel_values).latent_dist
        latent = posterior.sample(generator=generator)
        error = self.vae.decode(latent).sample - batch.pixel_values
        kl = posterior.kl().sum() / latent.numel()
        return {
            "absolute": error.abs().mean(),
            "squared": error.square().mean(),
            "kl": self.kl_weight * kl,
        }


class SiglipObjective(Objective):
    """Pairwise sigmoid loss between pictures and captions (Zhai et al. 2023, SigLIP)."""

    def __init__(self, siglip: SiglipModel) -> None:
        super().__init__()
        self.siglip = siglip
        nn.init.constant_(siglip.logit_scale, 2.3)  # log 10, as the paper starts
        nn.init.constant_(siglip.logit_bias, -10.0)

    def forward(self, batch: CaptionedBatch, generator: torch.Generator) -> dict[str, Tensor]:  # noqa: ARG002 (nothing is random)
        """Every picture against every caption: one is right, the others are wrong."""
        pictures = self.siglip.get_image_features(pixel_values=batch.pixel_values).pooler_output
        texts = self.siglip.get_text_features(input_ids=batch.token_ids).pooler_output
        logits = normalize(texts, dim=-1) @ normalize(pictures, dim=-1).T
        logits = logits * self.siglip.logit_scale.exp() + self.siglip.logit_bias
        # Captions may repeat within a batch; equal captions are no negatives of one another.
        same = (batch.token_ids[:, None] == batch.token_ids[None]).all(-1)
        return {"sigmoid": -logsigmoid(torch.where(same, logits, -logits)).sum(-1).mean()}
