"""AdamW, with Muon for matrices if asked, and the paper's schedule: warm-up, constant rate.

A final decay is optional.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from janusflow.config.errors import ConfigError
from janusflow.config.training import OptimizerConfig, Precision
from janusflow.training.engine.muon import Muon

REPEATED = (".layers.", ".blocks.")
"""Where a network repeats itself: the LLM's and the tower's layers, the ConvNeXt blocks."""


NEEDS_WHOLE = (
    "loop.optimizer.muon=true, which takes whole matrices, with sharded weights: use "
    "loop.scale.shard=1 (and on a GPU loop.scale.precision=fp32), or muon=false."
)


class Together:
    """Several optimizers, each with parameters of its own, as one."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers
        self.found_inf: Tensor | None = None
        """Where this is 1, a step leaves everything as it is."""

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of all of them."""
        return [group for each in self.optimizers for group in each.param_groups]

    @property
    def state(self) -> dict[Tensor, dict[str, Tensor]]:
        """Of all of them: what is kept for each parameter that has moved."""
        return {p: kept for each in self.optimizers for p, kept in each.state.items()}

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        if self.found_inf is not None and bool(self.found_inf):
            return
        for each in self.optimizers:
            each.step()

    def zero_grad(self, *, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for each in self.optimizers:
            each.zero_grad(set_to_none=set_to_none)


def build_optimizer(
    module: nn.Module, config: OptimizerConfig, precision: Precision = "fp32"
) -> torch.optim.AdamW | Together:
    """Make an optimizer for the parameters of a module that train.

    If asked, Muon moves the matrices of repeated blocks, AdamW everything else.

    Raises:
        ConfigError: Muon is asked for, which takes whole matrices, and these are sharded.
    """
    matrices = muon_matrices(module, config)
    others = torch.optim.AdamW(
        [p for name, p in module.named_parameters() if p.requires_grad and name not in matrices],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if not matrices:
        return others
    if any(isinstance(matrix, DTensor) for matrix in matrices.values()):
        raise ConfigError(NEEDS_WHOLE)
    muon = Muon(
        matrices.values(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
    )
    return Together(muon, others)


def muon_matrices(module: nn.Module, config: OptimizerConfig) -> dict[str, nn.Parameter]:
    """What Muon moves, by name: matrices of repeated blocks that train; nothing unless asked."""
    return {
        name: parameter
        for name, parameter in module.named_parameters()
        if config.muon
        and parameter.requires_grad
        and parameter.ndim == 2
        and any(part in name for part in REPEATED)
    }


def learning_rate(step: int, *, config: OptimizerConfig, num_steps: int) -> float:
    """The rate of a step counted from 0: the first step already moves, the last one still does."""
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    decay = min(1.0, (num_steps - step) / config.decay_steps) if config.decay_steps else 1.0
    return config.learning_rate * min(warmup, decay)


def new_moments(optimizer: torch.optim.Optimizer | Together) -> None:
    """Let an optimizer that has made no step hold what it will hold, without moving a weight."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
