"""Several processes, one step: each takes its share of the samples and the gradients are added.

`torchrun --nproc-per-node N -m janusflow.cli.main train ...` starts them; alone, every function
here does nothing. On two CPU cores, two processes of one thread each are a third faster than one
process of two threads (benchmarks/notes.md).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from janusflow.config.errors import ConfigError


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes torchrun started, if it did, for the length of a block."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    """How many processes share a step."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes files and logs."""
    return rank() == 0


def wait_for_all() -> None:
    """Return when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def own_parts(items: Any, *, num_parts: int = 1) -> list[Any]:
    """This process's share of a sequence or array, in `num_parts` batches.

    Each holds every n-th item, so that kinds that stand in a row are spread evenly.

    Raises:
        ConfigError: there are fewer items than batches.
    """
    stride = num_processes() * num_parts
    if len(items) < stride:
        raise ConfigError(
            f"{len(items)} samples a step for {num_processes()} processes with {num_parts} batches "
            "each: raise the batch size, or lower loop.accumulate or the number of processes."
        )
    return [items[rank() * num_parts + part :: stride] for part in range(num_parts)]


def summed(values: Tensor) -> Tensor:
    """The sum over the processes of a tensor each of them has."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace every gradient by its sum over the processes, in one message."""
    if num_processes() == 1:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = summed(torch.cat([gradient.flatten() for gradient in gradients]))
    for parameter, part in zip(
        parameters, flat.split([p.numel() for p in parameters]), strict=True
    ):
        parameter.grad = part.view_as(parameter)
