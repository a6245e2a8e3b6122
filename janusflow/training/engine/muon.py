"""Muon: steps along the orthogonal factor of a matrix's momentum (Jordan et al. 2024).

As `torch.optim.Muon`, which a test compares, but processes share the matrices out among them, and
it computes in float32 where that is asked for: a processor without bfloat16 takes fifty times as
long for emulating it (benchmarks/notes.md).
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from janusflow.training.engine.distributed import num_processes, rank, summed

COEFFICIENTS = (3.4445, -4.775, 2.0315)
"""Of the quintic that takes singular values towards 1: steep at 0, never at rest."""
NUM_ITERATIONS = 5
ADAMW_SIZE = 0.2
"""Root mean square of what AdamW adds to a weight at rate 1, by Liu et al. (arXiv 2502.16982)."""


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
    summed(flat)
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
