"""What this machine reaches at best: one large matrix product, and one matrix times a vector."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from janusflow.benchmark.cases import Outputs, Request, Watch
from janusflow.benchmark.watch import Stopwatch

ROWS, COLUMNS, INNER = 1280, 5632, 2048
"""Of the product: about those of the release's feed-forward layers over one guided picture."""
READ_BYTES = 2**28
TRIES = 3


def measure_ceilings(request: Request, watch: Watch) -> Outputs:
    """Operations and bytes a second, of processor time on a CPU: the best of a few tries."""
    device, dtype = torch.device(request.device), getattr(torch, request.dtype)
    left = torch.randn(ROWS, INNER, device=device, dtype=dtype)
    weight = torch.randn(COLUMNS, INNER, device=device, dtype=dtype)
    memory = torch.ones(READ_BYTES // dtype.itemsize // INNER, INNER, device=device, dtype=dtype)
    with watch:
        product = min(_seconds(request, lambda: left @ weight.T) for _ in range(TRIES))
        reading = min(_seconds(request, lambda: memory @ left[0]) for _ in range(TRIES))
    return {
        "flops_per_second": np.array(2 * ROWS * COLUMNS * INNER / product),
        "bytes_per_second": np.array(READ_BYTES / reading),
    }


def _seconds(request: Request, work: Callable[[], Tensor]) -> float:
    own = Stopwatch(request.device)
    with own:
        work()
    return own.seconds if own.is_cuda else own.cpu_seconds
