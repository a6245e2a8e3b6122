"""How weights move: AdamW, with Muon for matrices if asked, and their average.

Muon (steps along the orthogonal factor of a matrix's momentum, Jordan et al. 2024) is as
`torch.optim.Muon`, which a test compares, but processes share the matrices out among them, and it
computes in float32 where that is asked for: a processor without bfloat16 takes fifty times as long
for emulating it (benchmarks/notes.md).
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from janusflow.config.errors import ConfigError
from janusflow.config.training import OptimizerConfig, Precision
from janusflow.training.engine.distributed import all_reduce_sum, num_processes, rank

REPEATED = (".layers.", ".blocks.")
"""Where a network repeats itself: the LLM's and the tower's layers, the ConvNeXt blocks."""
NEEDS_WHOLE = (
    "loop.optimizer.muon=true, which takes whole matrices, with sharded weights: use "
    "loop.parallelism.hsdp_shard_size=1 (and on a GPU loop.parallelism.precision=fp32), or "
    "muon=false."
)
COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic that takes singular values towards 1: steep at 0, never at rest."""
NUM_ITERATIONS = 5
ADAMW_SIZE = 0.2
"""Root mean square of what AdamW adds to a weight at rate 1, by Liu et al. (arXiv 2502.16982)."""


class CombinedOptimizer:
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
) -> torch.optim.AdamW | CombinedOptimizer:
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
    return CombinedOptimizer(muon, others)


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


def init_optimizer_state(optimizer: torch.optim.Optimizer | CombinedOptimizer) -> None:
    """Let an optimizer that has made no step hold what it will hold, without moving a weight."""
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


class Muon(torch.optim.Optimizer):
    """Moves matrices by updates as large as AdamW's.

    Args:
        matrices: all of two dimensions.
        lr: rate.
        momentum: how much of the mean of gradients is kept; Nesterov's look ahead is on.
        weight_decay: decoupled.
        dtype: what orthogonal factors are computed in.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(
            matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "dtype": dtype}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every matrix that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            ahead = [self._look_ahead(p, group["momentum"]) for p in moved]
            for p, factor in zip(moved, shared_out(ahead, group["dtype"]), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(factor, alpha=group["lr"] * ADAMW_SIZE * max(p.shape) ** 0.5)
        return loss

    def _look_ahead(self, parameter: Tensor, momentum: float) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None
        mean = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
        mean.lerp_(gradient, 1 - momentum)
        return gradient.lerp(mean, momentum)


def shared_out(matrices: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The orthogonal factors of matrices that all processes hold; each computes some of them."""
    if not matrices:
        return []
    flat = torch.zeros(sum(matrix.numel() for matrix in matrices), device=matrices[0].device)
    factors = flat.split([matrix.numel() for matrix in matrices])
    for own in range(rank(), len(matrices), num_processes()):
        factors[own].copy_(orthogonal(matrices[own], dtype).flatten())
    all_reduce_sum(flat)
    return [each.view_as(matrix) for each, matrix in zip(factors, matrices, strict=True)]


def orthogonal(matrix: Float[Tensor, "m n"], dtype: torch.dtype) -> Float[Tensor, "m n"]:
    """About U V^T of a matrix U S V^T: Newton-Schulz leaves singular values near 1, not at it."""
    a, b, c = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if is_tall else matrix).to(dtype)
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(NUM_ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if is_tall else x).to(matrix.dtype)


class Ema:
    """Float32 shadows of a module's trainable parameters; frozen ones need none.

    Of sharded parameters every process averages the shards it holds.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.module = module
        self.shadow: dict[str, Tensor] = {
            name: parameter.detach().float().clone() for name, parameter in self._trained()
        }

    def _trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((n, p) for n, p in self.module.named_parameters() if p.requires_grad)

    def update(self, step: int) -> None:
        """Move every shadow towards its parameter by 1 - decay, after a step counted from 0."""
        self.move(min(self.decay, (1 + step) / (10 + step)))

    @torch.no_grad()
    def move(self, decay: float) -> None:
        """Move every shadow towards its parameter by 1 - this decay."""
        shadows = [local(shadow) for shadow in self.shadow.values()]
        live = [local(parameter).float() for _, parameter in self._trained()]
        torch._foreach_lerp_(shadows, live, 1.0 - decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The module holds the average inside the block and its own weights after it."""
        live = {name: parameter.detach().clone() for name, parameter in self._trained()}
        self._copy_in(self.shadow)
        try:
            yield
        finally:
            self._copy_in(live)

    @torch.no_grad()
    def _copy_in(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self._trained():
            local(parameter).copy_(local(values[name]))


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: its shards, or all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
