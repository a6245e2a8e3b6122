"""The noise a seed stands for, whatever the batch around it and whatever the device."""

import torch
from jaxtyping import Float
from torch import Tensor


def sample_noise(
    shape_of_one: tuple[int, ...], *, seeds: list[int], device: torch.device | str = "cpu"
) -> Float[Tensor, " b *shape"]:
    """Draw one image's noise per seed: on the CPU, because devices draw differently, then moved."""
    noise = torch.empty(len(seeds), *shape_of_one, dtype=torch.float32)
    for own, seed in zip(noise, seeds, strict=True):
        torch.randn(shape_of_one, generator=torch.Generator().manual_seed(seed), out=own)
    return noise.to(device)
