"""The training loop: one for every stage, every pretraining step of `mini` and every fine-tune.

It knows an objective (a module that turns a batch into named losses), an optimizer, an average
and hooks. It does not know what is trained on, nor on what. Batch and noise are functions of
seed and step, so a run killed at any moment resumes as if nothing had happened.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from janusflow.config.errors import TrainingError
from janusflow.config.training import LoopConfig
from janusflow.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from janusflow.training.ema import Ema
from janusflow.training.optim import build_optimizer, learning_rate
from janusflow.training.processes import average_gradients, is_first, num_processes, rank


class Objective(nn.Module):
    """What is minimised: owns the trained modules; `forward` returns named, weighted losses."""

    def forward(self, batch: Any, generator: torch.Generator) -> dict[str, Tensor]:
        """Evaluate one batch; every random draw comes from the generator."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did; tensors stay on the device until somebody reads them."""

    step: int
    losses: dict[str, Tensor]
    grad_norm: Tensor
    learning_rate: float
    num_samples: int


@dataclass(kw_only=True)
class TrainState:
    """A run in memory."""

    objective: Objective
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    run: Path
    step: int = 0
    samples_seen: int = 0


@runtime_checkable
class Hook(Protocol):
    """Anything done every n steps."""

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Called once a step, after the weights have moved."""
        ...


Batches = Callable[[int], Iterator[Any]]
"""Given a step, yields that step's batch and the following ones. A batch has a len in samples."""


def train(
    objective: Objective,
    batches: Batches,
    config: LoopConfig,
    *,
    run: Path,
    hooks: Sequence[Hook] = (),
) -> TrainState:
    """Train to `config.steps`, from the run's newest checkpoint if it has one.

    Raises:
        CheckpointError: the newest checkpoint is unreadable, or a new one cannot be written.
        TrainingError: a loss is not finite; the message names step and loss.
    """
    state = start(objective, config, run=run)
    parameters = [p for p in objective.parameters() if p.requires_grad]
    source = batches(state.step)
    while state.step < config.steps:
        report = _step(state, next(source), config, parameters)
        for hook in hooks if is_first() else ():
            hook.after_step(state, report)
        if state.step % config.save_every == 0 or state.step == config.steps:
            check_finite(report)
            if is_first():
                save_checkpoint(run, state.step, snapshot(state), keep=config.keep)
    return state


def start(objective: Objective, config: LoopConfig, *, run: Path) -> TrainState:
    """Make a run's state, restored from its newest checkpoint if there is one."""
    state = TrainState(
        objective=objective,
        optimizer=build_optimizer(objective.parameters(), config.optimizer),
        ema=Ema(objective, decay=config.ema) if config.ema else None,
        run=run,
    )
    saved = checkpoints(run)
    if saved:
        _restore(state, load_checkpoint(saved[-1]))
    return state


def _step(
    state: TrainState, batch: Any, config: LoopConfig, parameters: list[nn.Parameter]
) -> StepReport:
    rate = learning_rate(state.step, config=config.optimizer, num_steps=config.steps)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    losses = state.objective(batch, step_generator(config.seed, state.step))
    torch.stack(list(losses.values())).sum().backward()
    average_gradients(parameters)
    grad_norm = nn.utils.clip_grad_norm_(parameters, config.optimizer.clip_norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.ema is not None:
        state.ema.update()
    state.step += 1
    num_samples = len(batch) * num_processes()
    state.samples_seen += num_samples
    return StepReport(
        step=state.step,
        losses={name: loss.detach() for name, loss in losses.items()},
        grad_norm=grad_norm.detach(),
        learning_rate=rate,
        num_samples=num_samples,
    )


def check_finite(report: StepReport) -> None:
    """Refuse a step that broke the weights. Waits for the device, so not for every step.

    Raises:
        TrainingError: a loss or the gradient is not finite.
    """
    values = report.losses | {"grad_norm": report.grad_norm}
    bad = [name for name, value in values.items() if not math.isfinite(float(value))]
    if bad:
        raise TrainingError(
            f"{', '.join(bad)} is not finite at step {report.step}: start again in another "
            "run=FOLDER with a lower loop.optimizer.learning_rate."
        )


def step_generator(seed: int, step: int) -> torch.Generator:
    """The randomness of one step in this process, the same after a resume."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) * 4099 + rank())


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
    }


@torch.no_grad()
def _restore(state: TrainState, saved: dict[str, Any]) -> None:
    trained = {n: p for n, p in state.objective.named_parameters() if p.requires_grad}
    for name, parameter in trained.items():
        parameter.copy_(saved["parameters"][name])
    state.optimizer.load_state_dict(saved["optimizer"])
    if state.ema is not None and saved["ema"] is not None:
        state.ema.shadow = saved["ema"]
    state.step, state.samples_seen = saved["step"], saved["samples_seen"]
