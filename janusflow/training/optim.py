"""AdamW with the paper's schedule: linear warm-up, constant rate; a final decay is optional."""

from collections.abc import Iterable

import torch
from torch import nn

from janusflow.config.training import OptimizerConfig


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: OptimizerConfig
) -> torch.optim.AdamW:
    """Make AdamW over the parameters that train."""
    return torch.optim.AdamW(
        [p for p in parameters if p.requires_grad],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(step: int, *, config: OptimizerConfig, num_steps: int) -> float:
    """The rate of a step counted from 0: the first step already moves, the last one still does."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay = min(1.0, (num_steps - step) / config.decay_steps) if config.decay_steps else 1.0
    return config.learning_rate * min(warmup, decay)


def new_moments(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer that has made no step hold what it will hold, without moving a weight."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
