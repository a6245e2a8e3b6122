"""The training loop: one for every stage, every pretraining step of `mini` and every fine-tune.

It knows an objective (a module that turns a batch into named losses), an optimizer, an average
and hooks. It does not know what is trained, nor on what. A step's batches, with all that is random
about them, are functions of seed and step, so a run killed at any moment resumes as if nothing had
happened, and a step split among processes and batches gives the gradients of the whole.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from janusflow.config.training import GuardConfig, LoopConfig
from janusflow.training.engine.checkpoint import (
    Checkpointer,
    describe,
    load_into,
    newest_checkpoint,
)
from janusflow.training.engine.distributed import (
    all_reduce_sum,
    broadcast_from_main,
    device,
    rank,
)
from janusflow.training.engine.guard import Guard, RowsOf
from janusflow.training.engine.optim import (
    CombinedOptimizer,
    Ema,
    build_optimizer,
    init_optimizer_state,
)
from janusflow.training.engine.parallelize import (
    all_reduce_gradients,
    full_state_dict,
    full_tensor,
    parallelize,
    to_device,
    zero_loss_on_all_parameters,
)
from janusflow.training.objectives.base import Objective

NORMS = "guard.norms"


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did; tensors stay on the device until somebody reads them."""

    step: int
    losses: dict[str, Tensor]
    grad_norm: Tensor
    learning_rate: float
    batch_stats: dict[str, int]
    """Of all processes: `samples`, and what the objective's `batch_stats` counts."""
    seconds_waiting: float = 0.0
    """How long this process waited for its batches."""


@dataclass(kw_only=True)
class TrainState:
    """A run in memory."""

    objective: Objective
    optimizer: torch.optim.Optimizer | CombinedOptimizer
    ema: Ema | None
    run: Path
    guard: Guard = field(default_factory=lambda: Guard(GuardConfig()))
    step: int = 0
    samples_seen: int = 0
    rows_bad: int = 0
    """Rows that made no sample, where the objective's `batch_stats` counts them as `rows_bad`."""

    def averaged_weights(
        self, name: str, *, on_all: bool = False, share_frozen: bool = False
    ) -> dict[str, Tensor]:
        """What the module of a name averages to, or is if the run keeps no average; on the CPU.

        Every process gives its shards, so all of them must ask; the first gets it, or all. With
        `share_frozen`, what does not train is no copy and stays where it is: it may only be read.
        """
        module = self.objective.get_submodule(name)
        with nullcontext() if self.ema is None else self.ema.swapped_in():
            return full_state_dict(module, on_all=on_all, share_frozen=share_frozen)


@runtime_checkable
class Hook(Protocol):
    """Anything done every n steps."""

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Called once a step, after the weights have moved."""
        ...


Batches = Callable[[int], Iterator[Sequence[Any]]]
"""Given a step, yields its batches in this process, then those of the following steps.

The gradients of a step's batches are added. A batch has a len in samples, and all randomness of
learning it within."""


def train(
    objective: Objective,
    batches: Batches,
    config: LoopConfig,
    *,
    run: Path,
    hooks: Sequence[Hook] = (),
    rows_of: RowsOf | None = None,
) -> TrainState:
    """Train to `config.steps`, from the run's newest checkpoint if it has one.

    Args:
        objective: what is minimised.
        batches: what it is minimised on.
        config: how long, how often.
        run: folder of the run.
        hooks: called after every step, in every process.
        rows_of: names the rows of a step, for the message about one that went wrong.

    Raises:
        CheckpointError: the newest checkpoint is unreadable, or a new one cannot be written.
        TrainingError: a loss is not finite; the message names step, loss and rows.
    """
    state = start(objective, config, run=run)
    source = batches(state.step)
    with Checkpointer(run, keep=config.keep, keep_every=config.keep_every) as checkpointer:
        while state.step < config.steps:
            began = time.perf_counter()
            own = next(source)
            waited = time.perf_counter() - began
            seed_step(config.seed, state.step)
            report = replace(train_step(state, own, config), seconds_waiting=waited)
            for hook in hooks:
                hook.after_step(state, report)
            is_saved = state.step % config.save_every == 0 or state.step == config.steps
            if is_saved or state.step % config.log_every == 0:
                state.guard.check(run, rows_of)
            if is_saved:
                checkpointer.save(state.step, state_dict(state))
    return state


def start(objective: Objective, config: LoopConfig, *, run: Path) -> TrainState:
    """Make a run's state, restored from its newest checkpoint if there is one.

    Raises:
        CheckpointError: it is damaged, of another run or of an earlier version.
    """
    parallelize(objective, config.parallelism)
    objective.begin()
    state = TrainState(
        objective=objective,
        optimizer=build_optimizer(objective, config.optimizer, config.parallelism.precision),
        ema=Ema(objective, decay=config.ema) if config.ema else None,
        run=run,
        guard=Guard(config.guard),
    )
    # One process chooses: a listing of a shared folder may be stale in another.
    saved = broadcast_from_main(lambda: newest_checkpoint(run))
    if saved is not None:
        load_state_dict(state, saved)
    return state


def seed_step(seed: int, step: int) -> None:
    """Let what draws as the model computes (dropout) follow from seed, step and process alone."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, rank())).generate_state(1)[0]))


def train_step(state: TrainState, batches: Sequence[Any], config: LoopConfig) -> StepReport:
    """Learn one step's batches of this process: gradients, clipping, optimizer, average."""
    rate = config.optimizer.rate_at(state.step, config.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    losses, batch_stats = accumulate_gradients(state.objective, batches)
    trained = [p for p in state.objective.parameters() if p.requires_grad]
    grad_norm = full_tensor(nn.utils.clip_grad_norm_(trained, config.optimizer.clip_norm)).detach()
    # A fused optimizer leaves everything as it is where this is 1; the host need not know.
    is_skipped = state.guard.judge(state.step + 1, losses, grad_norm)
    state.optimizer.found_inf = is_skipped  # pyright: ignore[reportAttributeAccessIssue]
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update(state.step)
    state.step += 1
    state.samples_seen += batch_stats["samples"]
    state.rows_bad += batch_stats.get("rows_bad", 0)
    return StepReport(
        step=state.step,
        losses=losses,
        grad_norm=grad_norm,
        learning_rate=rate,
        batch_stats=batch_stats,
    )


def accumulate_gradients(
    objective: Objective, batches: Sequence[Any]
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Leave the gradients of a step, and return the step's losses and statistics.

    Losses are means over what all batches of all processes hold, and so are the gradients.
    """
    counted = [objective.loss_counts(batch) for batch in batches]
    counted_stats = [{"samples": len(batch)} | objective.batch_stats(batch) for batch in batches]
    names, seen = list(counted[0]), list(counted_stats[0])
    own = [sum(c[name] for c in counted) for name in names]
    own += [sum(t[name] for t in counted_stats) for name in seen]
    totals = all_reduce_sum(torch.tensor(own)).tolist()
    counts = dict(zip(names, totals[: len(names)], strict=True))
    batch_stats = dict(zip(seen, totals[len(names) :], strict=True))
    denominators = objective.loss_denominators(counts)
    losses = dict.fromkeys(names, torch.zeros((), device=device()))
    for number, batch in enumerate(batches, start=1):
        if isinstance(objective, FSDPModule):  # gradients are sent once a step
            objective.set_requires_gradient_sync(number == len(batches))
        totals_here = objective(to_device(batch, device()))
        shares = {name: total / max(denominators[name], 1) for name, total in totals_here.items()}
        torch.stack([*shares.values(), zero_loss_on_all_parameters(objective)]).sum().backward()
        losses |= {name: losses[name] + share.detach() for name, share in shares.items()}
    all_reduce_gradients(objective)
    means = all_reduce_sum(torch.stack(list(losses.values())))
    own_means = {
        name: mean * denominators[name] / counts[name]
        for name, mean in zip(names, means, strict=True)
        if counts[name]
    }
    return own_means, batch_stats


def state_dict(state: TrainState) -> dict[str, Tensor]:
    """Everything a resume needs, by names that say what it is."""
    trained = {n: p for n, p in state.objective.named_parameters() if p.requires_grad}
    moments = {
        f"optimizer.{name}.{kind}": value
        for name, parameter in trained.items()
        for kind, value in state.optimizer.state[parameter].items()
    }
    shadows = {} if state.ema is None else state.ema.shadow
    return {
        "step": torch.tensor(state.step),
        "samples_seen": torch.tensor(state.samples_seen),
        "rows_bad": torch.tensor(state.rows_bad),
        **{f"parameters.{name}": parameter.detach() for name, parameter in trained.items()},
        **{f"ema.{name}": shadow for name, shadow in shadows.items()},
        **{f"objective.{name}": tensor for name, tensor in state.objective.kept().items()},
        **moments,
        NORMS: state.guard.norms,
    }


def load_state_dict(state: TrainState, path: Path) -> None:
    """Put a checkpoint's values into a state, each process its own shards.

    The guard begins anew if its window has changed.

    Raises:
        CheckpointError: it is damaged, or of another run.
    """
    init_optimizer_state(state.optimizer)
    saved = state_dict(state)
    if describe(path)[NORMS].shape != saved[NORMS].shape:
        del saved[NORMS]
    load_into(path, saved)
    for name in ("step", "samples_seen", "rows_bad"):
        setattr(state, name, int(saved[name]))
