"""The training loop: one for every stage, every pretraining step of `mini` and every fine-tune.

It knows an objective (a module that turns a batch into named losses), an optimizer, an average
and hooks. It does not know what is trained, nor on what. A step's batches, with all that is random
about them, are functions of seed and step, so a run killed at any moment resumes as if nothing had
happened, and a step split among processes and batches gives the gradients of the whole.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from janusflow.config.training import GuardConfig, LoopConfig
from janusflow.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from janusflow.training.ema import Ema
from janusflow.training.guard import Guard, RowsOf
from janusflow.training.optim import build_optimizer, learning_rate
from janusflow.training.processes import is_first, sum_gradients, summed


class Objective(nn.Module, ABC):
    """What is minimised: owns the trained modules.

    Every loss is a mean over all of a step (its tokens, pictures and so on), however the step is
    split into processes and batches: `forward` gives sums over a batch, `counts` what to divide by.
    """

    @abstractmethod
    def counts(self, batch: Any) -> dict[str, int]:
        """How many things each loss sums over in this batch; always every loss's name."""

    def tally(self, batch: Any) -> dict[str, int]:  # noqa: ARG002
        """What else the log adds up over a step's batches; always the same names."""
        return {}

    @abstractmethod
    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Named, weighted sums; a loss the batch has nothing for may be left out."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did; tensors stay on the device until somebody reads them."""

    step: int
    losses: dict[str, Tensor]
    grad_norm: Tensor
    learning_rate: float
    tally: dict[str, int]
    """Of all processes: `samples`, and what the objective's `tally` counts."""
    seconds_waiting: float = 0.0
    """How long this process waited for its batches."""


@dataclass(kw_only=True)
class TrainState:
    """A run in memory."""

    objective: Objective
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    run: Path
    guard: Guard = field(default_factory=lambda: Guard(GuardConfig()))
    step: int = 0
    samples_seen: int = 0


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
        hooks: called after every step, in the first process.
        rows_of: names the rows of a step, for the message about one that went wrong.

    Raises:
        CheckpointError: the newest checkpoint is unreadable, or a new one cannot be written.
        TrainingError: a loss is not finite; the message names step, loss and rows.
    """
    state = start(objective, config, run=run)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    source = batches(state.step)
    while state.step < config.steps:
        began = time.perf_counter()
        own = next(source)
        waited = time.perf_counter() - began
        report = replace(_step(state, own, config, parameters), seconds_waiting=waited)
        for hook in hooks if is_first() else ():
            hook.after_step(state, report)
        is_saved = state.step % config.save_every == 0 or state.step == config.steps
        if is_saved or state.step % config.log_every == 0:
            state.guard.check(run, rows_of)
        if is_saved and is_first():
            save_checkpoint(run, state.step, snapshot(state), keep=config.keep)
    return state


def start(objective: Objective, config: LoopConfig, *, run: Path) -> TrainState:
    """Make a run's state, restored from its newest checkpoint if there is one."""
    state = TrainState(
        objective=objective,
        optimizer=build_optimizer(objective.parameters(), config.optimizer),
        ema=Ema(objective, decay=config.ema) if config.ema else None,
        run=run,
        guard=Guard(config.guard),
    )
    saved = checkpoints(run)
    if saved:
        _restore(state, load_checkpoint(saved[-1]))
    return state


def _step(
    state: TrainState, batches: Sequence[Any], config: LoopConfig, parameters: list[nn.Parameter]
) -> StepReport:
    rate = learning_rate(state.step, config=config.optimizer, num_steps=config.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    losses, tally = backward(state.objective, batches)
    sum_gradients(parameters)
    grad_norm = nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm).detach()
    # A fused optimizer leaves everything as it is where this is 1; the host need not know.
    is_skipped = state.guard.judge(state.step + 1, losses, grad_norm)
    state.optimizer.found_inf = is_skipped  # pyright: ignore[reportAttributeAccessIssue]
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update()
    state.step += 1
    state.samples_seen += tally["samples"]
    return StepReport(
        step=state.step,
        losses=losses,
        grad_norm=grad_norm,
        learning_rate=rate,
        tally=tally,
    )


def backward(
    objective: Objective, batches: Sequence[Any]
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Leave this process's gradients of a step, and return the step's losses and tally.

    The losses are means over what all batches of all processes hold; the gradients are this
    process's share of theirs, so that all processes' gradients add up to those of the whole.
    """
    counted = [objective.counts(batch) for batch in batches]
    tallied = [{"samples": len(batch)} | objective.tally(batch) for batch in batches]
    names, seen = list(counted[0]), list(tallied[0])
    own = [sum(c[name] for c in counted) for name in names]
    own += [sum(t[name] for t in tallied) for name in seen]
    totals = summed(torch.tensor(own)).tolist()
    counts = dict(zip(names, totals[: len(names)], strict=True))
    tally = dict(zip(seen, totals[len(names) :], strict=True))
    losses = dict.fromkeys(names, torch.zeros(()))
    for batch in batches:
        shares = {n: total / counts[n] for n, total in objective(batch).items() if counts[n]}
        if shares:
            torch.stack(list(shares.values())).sum().backward()
        losses |= {name: losses[name] + share.detach() for name, share in shares.items()}
    means = summed(torch.stack(list(losses.values())))
    return {n: mean for n, mean in zip(names, means, strict=True) if counts[n]}, tally


def snapshot(state: TrainState) -> dict[str, Any]:
    """Everything a resume needs."""
    return {
        "step": state.step,
        "samples_seen": state.samples_seen,
        "parameters": {
            name: parameter.detach()
            for name, parameter in state.objective.named_parameters()
            if parameter.requires_grad
        },
        "optimizer": state.optimizer.state_dict(),
        "ema": state.ema.shadow if state.ema is not None else None,
        "norms": state.guard.norms,
    }


@torch.no_grad()
def _restore(state: TrainState, saved: dict[str, Any]) -> None:
    trained = {n: p for n, p in state.objective.named_parameters() if p.requires_grad}
    for name, parameter in trained.items():
        parameter.copy_(saved["parameters"][name])
    state.optimizer.load_state_dict(saved["optimizer"])
    if state.ema is not None and saved["ema"] is not None:
        state.ema.shadow = saved["ema"]
    state.guard.resume(saved.get("norms"))
    state.step, state.samples_seen = saved["step"], saved["samples_seen"]
