"""When training looks (a random time per example) and where a solver stops (a grid from 0 to 1)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import ConfigError


def sample_logit_normal(
    num: int, *, mean: float = 0.0, std: float = 1.0, generator: torch.Generator
) -> Float[Tensor, " b"]:
    """Draw times whose logit is normal, strictly between 0 and 1, on the generator's device."""
    normal = torch.randn(num, generator=generator, device=generator.device, dtype=torch.float32)
    # A wide normal saturates the float32 sigmoid; the ends themselves would be pure noise or data.
    lowest, highest = torch.finfo(torch.float32).tiny, 1.0 - torch.finfo(torch.float32).eps
    return torch.sigmoid(mean + std * normal).clamp(lowest, highest)


GRIDS = ("uniform", "cosine")
"""Cosine steps are short near noise, and 1.6 times as long as even ones near data."""


def time_grid(
    num_steps: int, *, shift: float = 1.0, grid: str = "uniform", start: float = 0.0
) -> Float[Tensor, " s"]:
    """Lay num_steps + 1 rising times from exactly 0 to exactly 1, on the CPU.

    What lies before `start` is cut off: the step size stays as it is. `grid` is one of GRIDS.
    `shift` bends it further; it is that of Stable Diffusion 3
    (arXiv 2403.03206, eq. 23), which maps the noise level 1 - t to
    shift (1 - t) / (1 + (shift - 1) (1 - t)). In our direction of time that is

        t  ->  t / (1 + (shift - 1) (1 - t)).

    shift=1 leaves the grid as it is; above 1 more steps are spent near noise, below 1 near data.
    """
    if num_steps < 1:
        raise ConfigError(f"num_steps={num_steps}: a path needs at least one step. Use 1 or more.")
    if not shift > 0.0:
        raise ConfigError(f"shift={shift} is not positive. Use 1 for a uniform grid, 3 as in SD3.")
    if grid not in GRIDS:
        raise ConfigError(f"grid={grid!r} is unknown. Use one of: {', '.join(GRIDS)}.")
    # Divided in float64 and rounded once, so that the grid of 30 steps holds float32(i / 30).
    times = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    if grid == "cosine":
        times = 1.0 - torch.cos(times * math.pi / 2)
    times = (times / (1.0 + (shift - 1.0) * (1.0 - times))).to(torch.float32)
    if start == 0.0:
        return times
    # A first step much shorter than the rest would be an evaluation for nothing.
    return torch.cat([torch.tensor([start]), times[times > start + 1e-4]])
