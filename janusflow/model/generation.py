"""Generation encoder and decoder: noisy latents to LLM-side features, and back to a velocity.

They know neither the LLM nor the ODE. The long skip is an explicit argument (paper section 3.1).
"""

from typing import NamedTuple

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, cat, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from janusflow.config.model import GenerationPathConfig
from janusflow.model.layers import ConvNextBlock, TimeEmbedding


class EncodedLatent(NamedTuple):
    """What the encoder hands on: features for the LLM (and for the skip), and the time token."""

    features: Float[Tensor, "b w y x"]
    time_embed: Float[Tensor, "b d"]


class GenerationEncoder(nn.Module):
    """Patchify a latent, then ConvNeXt blocks modulated by time (g_enc of the paper)."""

    def __init__(self, config: GenerationPathConfig, hidden_size: int) -> None:
        super().__init__()
        self.time_embedding = TimeEmbedding(config.width // 2, hidden_size)
        self.patchify = nn.Conv2d(
            config.latent_channels, config.width, config.patch_size, stride=config.patch_size
        )
        self.blocks = _blocks(config.num_encoder_blocks, config.width, config, hidden_size)

    def forward(
        self, x_t: Float[Tensor, "b c y_latent x_latent"], t: Float[Tensor, " b"]
    ) -> EncodedLatent:
        """Encode a noisy latent at time t in [0, 1]."""
        time_embed = self.time_embedding(t)
        features = self.patchify(x_t)
        for block in self.blocks:
            features = block(features, time_embed)
        return EncodedLatent(features, time_embed)


class GenerationDecoder(nn.Module):
    """Join LLM output and skip, ConvNeXt blocks, pixel shuffle to a velocity (g_dec)."""

    def __init__(self, config: GenerationPathConfig, hidden_size: int) -> None:
        super().__init__()
        width = 2 * config.width
        self.input_norm = LlamaRMSNorm(config.width, eps=config.norm_eps)
        self.blocks = _blocks(config.num_decoder_blocks, width, config, hidden_size)
        self.output_norm = LlamaRMSNorm(width, eps=config.norm_eps)
        self.unpatchify = nn.Conv2d(width, config.latent_channels * config.patch_size**2, 1)
        self.pixel_shuffle = nn.PixelShuffle(config.patch_size)

    def forward(
        self,
        features: Float[Tensor, "b w y x"],
        skip: Float[Tensor, "b w y x"],
        time_embed: Float[Tensor, "b d"],
    ) -> Float[Tensor, "b c y_latent x_latent"]:
        """Predict the velocity on the latent grid."""
        features = self.input_norm(rearrange(features, "b w y x -> b y x w"))
        joined = cat([rearrange(features, "b y x w -> b w y x"), skip], dim=1)
        for block in self.blocks:
            joined = block(joined, time_embed)
        joined = self.output_norm(rearrange(joined, "b w y x -> b y x w"))
        return self.pixel_shuffle(self.unpatchify(rearrange(joined, "b y x w -> b w y x")))


def _blocks(
    num_blocks: int, width: int, config: GenerationPathConfig, hidden_size: int
) -> nn.ModuleList:
    return nn.ModuleList(
        ConvNextBlock(width, hidden_size, kernel_size=config.kernel_size, norm_eps=config.norm_eps)
        for _ in range(num_blocks)
    )
