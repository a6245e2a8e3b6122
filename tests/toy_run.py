"""A run of the training loop that takes milliseconds, also killed or as one of two processes.

The objective has a frozen parameter and two losses, and every step another random batch, so
whatever a resume forgets shows in the weights.
"""

import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from janusflow.config.errors import JanusFlowError
from janusflow.config.training import GuardConfig, LoopConfig, OptimizerConfig, ParallelismConfig
from janusflow.training.engine.checkpoint import checkpoints, read_checkpoint
from janusflow.training.engine.distributed import leave_group
from janusflow.training.engine.loop import Hook, TrainState, start, train
from janusflow.training.objectives.base import Objective
from janusflow.training.report.log import LogHook

SEED = 5
CONFIG = LoopConfig(
    steps=11,
    seed=SEED,
    ema=0.9,
    log_every=2,
    save_every=4,
    optimizer=OptimizerConfig(learning_rate=0.05, warmup_steps=3, decay_steps=4),
)


class ToyObjective(Objective):
    """Fit random inputs to a frozen target; at a step its loss is NaN, or so many times as large.

    Steps are calls: with one batch a step and no resume.
    """

    def __init__(self, *, breaks_at: int | None = None, times: float = math.nan) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)
        self.target = nn.Parameter(torch.arange(3.0), requires_grad=False)
        self.breaks_at, self.times = breaks_at, times
        self.calls = 0

    def loss_counts(self, batch: Tensor) -> dict[str, int]:
        return {"fit": 3 * len(batch), "size": 1}

    def batch_stats(self, batch: Tensor) -> dict[str, int]:
        return {"rows_bad": 1}

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        fit = (self.layer(batch) - self.target).square().sum()
        if self.calls == self.breaks_at:
            fit = fit * self.times
        return {"fit": fit, "size": 0.1 * self.layer.weight.abs().mean()}


def toy_batches(step: int) -> Iterator[list[Tensor]]:
    """One batch of two samples a step, a function of seed and step."""
    while True:
        yield [torch.randn(2, 4, generator=torch.Generator().manual_seed(1000 * SEED + step))]
        step += 1


def toy_train(
    run: Path, config: LoopConfig = CONFIG, *, hooks: tuple[Hook, ...] = ()
) -> TrainState:
    log = LogHook(run, config)
    return train(ToyObjective(), toy_batches, config, run=run, hooks=(log, *hooks))


def log_values(run: Path) -> list[dict[str, float]]:
    """A run's log without what depends on the clock."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    clock = ("time", "samples_per_second", "waiting_share", "memory_gib")
    return [{name: line[name] for name in line if name not in clock} for line in lines]


def last_checkpoint(run: Path) -> dict[str, Tensor]:
    """Parameters, optimizer, average and step as they were left on disk."""
    return read_checkpoint(checkpoints(run)[-1])


def last_average(run: Path) -> dict[str, Tensor]:
    """The averaged weights of a run, by the objective's names."""
    saved = last_checkpoint(run)
    return {n.removeprefix("ema."): value for n, value in saved.items() if n.startswith("ema.")}


def killed_while_saving(run: Path, save_number: int) -> None:
    """Train, and be killed by the system half-way through writing a checkpoint."""
    sync, saves = os.fsync, 0

    def kill_or_sync(handle: int) -> None:
        nonlocal saves
        is_data = Path(f"/proc/self/fd/{handle}").resolve().suffix == ".distcp"
        saves += is_data
        if is_data and saves == save_number:
            os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        sync(handle)

    os.fsync = kill_or_sync
    toy_train(run)


def one_of_two(folder: Path, rank: int, action: str) -> None:
    """Train as one of two processes and end as the command line does; a batch is no number.

    It is the second's batch of step 5.
    """
    config = replace(
        CONFIG,
        guard=GuardConfig(not_finite=action),
        parallelism=ParallelismConfig(hsdp_shard_size=0),
    )
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    objective = ToyObjective(breaks_at=5 if rank else None)
    try:
        train(objective, toy_batches, config, run=folder / "run")
    except JanusFlowError as error:
        sys.exit(f"error: {error}")
    dist.barrier()
    leave_group()


def resumed_as_one_of_two(folder: Path, rank: int) -> None:
    """Go on, and print from which step; the second process sees a folder that is not up to date."""
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    try:
        state = start(ToyObjective(), CONFIG, run=folder / ("stale" if rank else "run"))
        sys.stdout.write(f"{state.step}\n")
    except JanusFlowError as error:
        sys.exit(f"error: {error}")
    dist.barrier()
    leave_group()
