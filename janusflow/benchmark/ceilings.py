"""What this machine reaches at best: one large matrix product, and one matrix times a vector."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from janusflow.benchmark.watch import Stopwatch

ROWS, COLUMNS, INNER = 1280, 5632, 2048
"""Of the product: about those of the release's feed-forward layers over one guided picture."""
READ_BYTES = 2**28
TRIES = 3


def measure_ceilings(
    device: str, dtype_name: str, watch: AbstractContextManager[object]
) -> dict[str, np.ndarray]:
    """Operations and bytes a second, of processor time on a CPU: the best of a few tries."""
    dtype = getattr(torch, dtype_name)
    left = torch.randn(ROWS, INNER, device=device, dtype=dtype)
    weight = torch.randn(COLUMNS, INNER, device=device, dtype=dtype)
    memory = torch.ones(READ_BYTES // dtype.itemsize // INNER, INNER, device=device, dtype=dtype)
    with watch:
        product = min(_seconds(device, lambda: left @ weight.T) for _ in range(TRIES))
        reading = min(_seconds(device, lambda: memory @ left[0]) for _ in range(TRIES))
    return {
        "flops_per_second": np.array(2 * ROWS * COLUMNS * INNER / product),
        "bytes_per_second": np.array(READ_BYTES / reading),
    }


def _seconds(device: str, work: Callable[[], Tensor]) -> float:
    own = Stopwatch(device)
    with own:
        work()
    return own.seconds if own.is_cuda else own.cpu_seconds
