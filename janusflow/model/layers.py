"""Building blocks of the generation path: time embedding, response norm, ConvNeXt block.

Numerics follow the release (janus/janusflow/models/uvit.py), which differs from the published
ConvNeXt V2 in two ways: the norm is an RMSNorm, and time modulates the sum after the residual.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.llama.modeling_llama import LlamaRMSNorm

TIME_SCALE = 1000.0
"""The network sees 1000 t; everywhere else time runs from 0 to 1."""
MAX_PERIOD = 10_000.0
"""Longest period of the sinusoidal time embedding (Vaswani et al. 2017)."""
EXPANSION = 4
"""Hidden width of a ConvNeXt block over its width."""


class TimeEmbedding(nn.Module):
    """Sinusoids of 1000 t (cosines first), then a two-layer MLP to the LLM's width."""

    def __init__(self, num_frequencies: int, hidden_size: int) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.linear_1 = nn.Linear(2 * num_frequencies, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size)

    def sinusoids(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b w"]:
        """Embed time in [0, 1] in float32: the fastest component turns by 1 radian per 1/1000."""
        index = torch.arange(self.num_frequencies, dtype=torch.float32, device=t.device)
        frequencies = torch.exp(-math.log(MAX_PERIOD) / self.num_frequencies * index)
        angles = (TIME_SCALE * t.float())[:, None] * frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    def forward(self, t: Float[Tensor, " b"]) -> Float[Tensor, "b d"]:
        """Embed time in [0, 1]; the result is the LLM's time token and the blocks' condition."""
        sinusoids = self.sinusoids(t).to(self.linear_1.weight.dtype)
        return self.linear_2(nn.functional.silu(self.linear_1(sinusoids)))


class GlobalResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2, Woo et al. 2023) over a channels-last map."""

    eps = 1e-6

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.bias = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Float[Tensor, "b y x w"]) -> Float[Tensor, "b y x w"]:
        """Scale each channel by its share of the map's energy, and add the input."""
        response = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        share = response / (response.mean(dim=-1, keepdim=True) + self.eps)
        return self.bias + (self.weight * share + 1) * x


class Modulation(nn.Linear):
    """Time embedding to a block's scale and shift; a class of its own because it starts at zero."""


class ConvNextBlock(GradientCheckpointingLayer):
    """Depthwise convolution, inverted bottleneck with response norm, residual, time modulation."""

    def __init__(self, width: int, hidden_size: int, *, kernel_size: int, norm_eps: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            width, width, kernel_size, padding=kernel_size // 2, groups=width
        )
        self.norm = LlamaRMSNorm(width, eps=norm_eps)
        self.expand = nn.Linear(width, EXPANSION * width)
        self.response_norm = GlobalResponseNorm(EXPANSION * width)
        self.project = nn.Linear(EXPANSION * width, width)
        self.modulation = Modulation(hidden_size, 2 * width)

    def forward(
        self, x: Float[Tensor, "b w y x"], time_embed: Float[Tensor, "b d"]
    ) -> Float[Tensor, "b w y x"]:
        """Refine the map; `time_embed` scales and shifts the sum with the residual."""
        features = self.norm(rearrange(self.depthwise(x), "b w y x -> b y x w"))
        features = self.project(self.response_norm(nn.functional.gelu(self.expand(features))))
        x = x + rearrange(features, "b y x w -> b w y x")
        scale, shift = self.modulation(nn.functional.silu(time_embed))[..., None, None].chunk(2, 1)
        return x * (1 + scale) + shift
