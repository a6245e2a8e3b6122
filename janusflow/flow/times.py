"""When training looks (a random time per example) and where a solver stops (a grid from 0 to 1)."""

import math
from collections.abc import Callable

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


def _uniform(share: Tensor) -> Tensor:
    return share


def _cosine(share: Tensor) -> Tensor:
    """Steps are short near noise, and 1.6 times as long as even ones near data."""
    return 1.0 - torch.cos(share * math.pi / 2)


GRIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "uniform": _uniform,
    "cosine": _cosine,
}
"""Where on [0, 1] a share of the steps has led, rising from 0 to 1."""


def time_grid(num_steps: int, *, shift: float = 1.0, grid: str = "uniform") -> Float[Tensor, " s"]:
    """Lay num_steps + 1 rising times from exactly 0 to exactly 1, on the CPU.

    `grid` is one of GRIDS. `shift` bends it further; it is that of Stable Diffusion 3
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
    even = torch.arange(num_steps + 1, dtype=torch.float64) / num_steps
    times = GRIDS[grid](even)
    return (times / (1.0 + (shift - 1.0) * (1.0 - times))).to(torch.float32)
