"""Several processes, one step: each takes its share of the samples.

`torchrun --nproc-per-node N -m janusflow.cli.main train ...` starts them, one for every GPU. On two
CPU cores, two processes of one thread each are a third faster than one process of two threads
(benchmarks/notes.md).
"""

import gc
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from janusflow.config.errors import JanusFlowError
from janusflow.config.training import LoopConfig
from janusflow.data.batches.packing import balanced

Value = TypeVar("Value")


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes torchrun started, if it did, for the length of a block."""
    if dist.is_initialized():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(device())
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group(_backend())
    yield
    # Not after an error: NCCL would wait here for the processes that go on without this one.
    if dist.is_initialized():
        leave_group()


def leave_group() -> None:
    """Destroy the group and all that refers to it.

    A sharded model refers to its group and, in circles, to itself: left to the end of the program,
    the group's threads may want the interpreter when it is gone, which aborts a finished run.
    """
    dist.destroy_process_group()
    gc.collect()


def require_group() -> None:
    """Be a group of one, if no processes were joined: FSDP wants one even then."""
    if not dist.is_initialized():
        dist.init_process_group(_backend(), store=dist.HashStore(), rank=0, world_size=1)


def _backend() -> str:
    return "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"


def device() -> torch.device:
    """Where this process computes: its own GPU, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def num_processes() -> int:
    """How many processes share a step."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this is the process that writes files and logs."""
    return rank() == 0


def barrier() -> None:
    """Return when every process has come here."""
    if num_processes() > 1:
        dist.barrier()


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let the main process go through a block before the others, e.g. to fill a cache for them."""
    if not is_main_process():
        barrier()
    yield
    if is_main_process():
        barrier()


def microbatches_of_rank(items: Any, loop: LoopConfig) -> list[Any]:
    """This process's micro-batches of a step's items, a sequence or array.

    Each holds every n-th item, so that kinds that stand in a row are spread evenly.
    `balance_by_tokens` makes them even in length, too.

    Raises:
        ConfigError: there are fewer items than processes.
    """
    num_parts = loop.num_micro_batches(len(items), num_processes())
    stride = num_processes() * num_parts
    return [items[rank() * num_parts + part :: stride] for part in range(num_parts)]


def balance_by_tokens(
    parts: Sequence[Sequence[Value]], *, length: Callable[[Value], int]
) -> list[list[Value]]:
    """Swap samples among processes and micro-batches until all compute about as many tokens.

    A sample is made by one process, whichever learns it: lengths need not be known before. All
    processes tell them, and who learns what follows from them alone, so it is the same whenever a
    step is made.

    Args:
        parts: this process's micro-batches, as many as every other process has.
        length: tokens of a sample, at least 1.
    """
    told = gather_to_all([[length(each) for each in part] for part in parts])
    lengths = [tokens for process in told for part in process for tokens in part]
    numbers = count()
    before = [[[next(numbers) for _ in part] for part in process] for process in told]
    after = balanced(before, lengths)
    made = dict(zip(chain(*before[rank()]), chain(*parts), strict=True))
    sent = [{i: made[i] for i in chain(*process) if i in made} for process in after]
    own = {i: sample for some in exchange(sent) for i, sample in some.items()}
    return [[own[i] for i in part] for part in after[rank()]]


def broadcast_from_main(make: Callable[[], Value]) -> Value:
    """What the first process makes, in all of them; what it raises of ours, too.

    Raises:
        JanusFlowError: it could not be made.
    """
    made: list[Any] = [None]
    if is_main_process():
        try:
            made = [make()]
        except JanusFlowError as error:
            made = [error]
    if num_processes() > 1:
        dist.broadcast_object_list(made, src=0, device=torch.device("cpu"))
    if isinstance(made[0], JanusFlowError):
        raise made[0]
    return made[0]


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum over the processes of a tensor each of them has."""
    if num_processes() > 1:
        dist.all_reduce(values)
    return values


def gather_to_all(own: Value) -> list[Value]:
    """What every process has, in the order of their ranks."""
    found: list[Any] = [own]
    if num_processes() > 1:
        found *= num_processes()
        dist.all_gather_object(found, own)
    return found


def exchange(messages: Sequence[Value]) -> list[Value]:
    """Send every process one of these, by rank; returns what each of them sent to this one."""
    if num_processes() == 1:
        return list(messages)
    pickled = [pickle.dumps(message, pickle.HIGHEST_PROTOCOL) for message in messages]
    sizes = torch.tensor([len(each) for each in pickled])
    coming = torch.empty_like(sizes)
    dist.all_to_all_single(coming, sizes)
    sent = torch.frombuffer(bytearray(b"".join(pickled)), dtype=torch.uint8)
    received = torch.empty(int(coming.sum()), dtype=torch.uint8)
    dist.all_to_all_single(received, sent, coming.tolist(), sizes.tolist())
    return [pickle.loads(part.numpy().tobytes()) for part in received.split(coming.tolist())]


def gather_to_main(own: Any) -> list[Any] | None:
    """What every process made, in the order of their ranks; None in all but the first."""
    if num_processes() == 1:
        return [own]
    parts: list[Any] | None = [None] * num_processes() if is_main_process() else None
    dist.gather_object(own, parts)
    return parts
