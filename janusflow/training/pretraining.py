"""Objectives for the parts the paper takes pretrained and `mini` makes itself: VAE and SigLIP.

The language model needs no objective of its own: it is `JanusFlowObjective` on text alone.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, normalize
from transformers import SiglipModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

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
        (posterior,) = self.vae.encode(batch.pixel_values, return_dict=False)
        latent: Any = posterior.sample(generator=generator)
        (decoded,) = self.vae.decode(latent, return_dict=False)
        error = decoded - batch.pixel_values
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
        pictures = self._direction(self.siglip.vision_model(pixel_values=batch.pixel_values))
        texts = self._direction(self.siglip.text_model(input_ids=batch.token_ids))
        logits = texts @ pictures.T
        logits = logits * self.siglip.logit_scale.exp() + self.siglip.logit_bias
        # Captions may repeat within a batch; equal captions are no negatives of one another.
        same = (batch.token_ids[:, None] == batch.token_ids[None]).all(-1)
        return {"sigmoid": -logsigmoid(torch.where(same, logits, -logits)).sum(-1).mean()}

    @staticmethod
    def _direction(output: BaseModelOutputWithPooling) -> Float[Tensor, "n d"]:
        return normalize(cast(Tensor, output.pooler_output), dim=-1)
