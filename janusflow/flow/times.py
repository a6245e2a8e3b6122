"""When training looks (a random time per example) and where a solver stops (a grid from 0 to 1)."""

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


def time_grid(num_steps: int, *, shift: float = 1.0) -> Float[Tensor, " s"]:
    """Lay num_steps + 1 rising times from exactly 0 to exactly 1, on the CPU.

    `shift` is that of Stable Diffusion 3 (arXiv 2403.03206, eq. 23), which maps the noise level
    1 - t to shift (1 - t) / (1 + (shift - 1) (1 - t)). In our direction of time that is

        t  ->  t / (1 + (shift - 1) (1 - t)).

    shift=1 is uniform; above 1 more steps are spent near noise, below 1 near data.
    """
    if num_steps < 1:
        raise ConfigError(f"num_steps={num_steps}: a path needs at least one step. Use 1 or more.")
    if not shift > 0.0:
        raise ConfigError(f"shift={shift} is not positive. Use 1 for a uniform grid, 3 as in SD3.")
    # Divided in float64 and rounded once, so that the grid of 30 steps holds float32(i / 30).
    uniform = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    return (uniform / (1.0 + (shift - 1.0) * (1.0 - uniform))).to(torch.float32)
