"""Steps that went wrong: kept from the weights on the device, named with their rows on the host.

A step is judged by the norm of the whole gradient, which all processes know alike, before the
weights move; so all of them skip it, or none. Judging asks nothing of the host. What was judged is
read, and told of, every few steps.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from janusflow.config.errors import TrainingError
from janusflow.config.files import append_line, drop_lines_from
from janusflow.config.training import GuardConfig
from janusflow.training.engine.distributed import is_main_process

BAD_STEPS = "bad-steps.jsonl"
ROWS_NAMED = 4
"""Rows of a source that a message names."""

RowsOf = Callable[[int], Sequence[Mapping[str, Any]]]
"""The rows of a step, counted from 0: `source` and `row` of each sample, and what else is known."""


class Judged(NamedTuple):
    """What is known of a step; tensors stay on the device until somebody reads them."""

    step: int
    is_finite: Tensor
    is_spike: Tensor
    values: dict[str, Tensor]
    median: Tensor


class Guard:
    """Keeps gradients that are no number, and spikes if told to, from the weights.

    `norms` are the last steps' gradient norms, infinite where there was no step yet, so that their
    median is finite, and a limit, once half of them are there.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.norms: Float[Tensor, " window"] = torch.full((config.window,), math.inf)
        self._unread: list[Judged] = []
        self._num_skipped = 0
        self._has_begun = False

    @torch.no_grad()
    def judge(
        self, step: int, losses: dict[str, Tensor], grad_norm: Float[Tensor, ""]
    ) -> Float[Tensor, ""]:
        """Say, as 1 or 0 on the device, whether the weights must not move; steps count from 1."""
        self.norms = self.norms.to(grad_norm.device)
        values = losses | {"grad_norm": grad_norm}
        is_finite = torch.stack(list(values.values())).isfinite().all()
        median = self.norms.median()
        is_spike = is_finite & (grad_norm > self.config.spike_times * median)
        slot = step % len(self.norms)
        self.norms[slot] = torch.where(is_finite, grad_norm, self.norms[slot])
        self._unread.append(Judged(step, is_finite, is_spike, values, median))
        is_skipped = ~is_finite if self.config.spike == "report" else ~is_finite | is_spike
        return is_skipped.float()

    def check(self, run: Path, rows_of: RowsOf | None = None) -> None:
        """Read what was judged since the last call, and tell of steps that went wrong.

        Waits for the device. Every process must call it at the same steps.

        Raises:
            TrainingError: the run is to stop at such a step, or too many were skipped in a row.
        """
        unread, self._unread = self._unread, []
        if not unread:
            return
        if not self._has_begun and is_main_process():
            drop_lines_from(run / BAD_STEPS, step=unread[0].step)
        self._has_begun = True
        verdicts = torch.stack([torch.stack((j.is_finite, j.is_spike)) for j in unread]).tolist()
        for judged, (is_finite, is_spike) in zip(unread, verdicts, strict=True):
            if is_finite and not is_spike:
                self._num_skipped = 0
                continue
            self._tell(judged, run, rows_of, is_finite=is_finite)

    def _tell(self, judged: Judged, run: Path, rows_of: RowsOf | None, *, is_finite: bool) -> None:
        action = self.config.spike if is_finite else self.config.not_finite
        values = {name: float(value) for name, value in judged.values.items()}
        rows = [dict(row) for row in rows_of(judged.step - 1)] if rows_of is not None else []
        what = _what(values, median=float(judged.median), is_finite=is_finite)
        told = f"{what} at step {judged.step}: {_named(rows)}"
        if is_main_process():
            # JSON knows no NaN.
            plain = {n: v if math.isfinite(v) else str(v) for n, v in values.items()}
            line = {"step": judged.step, "why": what, "action": action, **plain, "rows": rows}
            append_line(run / BAD_STEPS, line)
        if action == "stop":
            option = "spike" if is_finite else "not_finite"
            raise TrainingError(
                f"{told}. It did not move the weights. Look at its rows ({run / BAD_STEPS}), "
                "start again in another run=FOLDER with a lower loop.optimizer.learning_rate, or "
                f"go on without the step by loop.guard.{option}=skip."
            )
        if is_main_process():
            done = "the step was skipped" if action == "skip" else "the step was taken"
            tqdm.write(f"{told}; {done}", file=sys.stderr)
        self._num_skipped = self._num_skipped + 1 if action == "skip" else 0
        if self._num_skipped > self.config.max_skips:
            raise TrainingError(
                f"{self._num_skipped} steps skipped one after another, the last one for {told}. "
                "Start again in another run=FOLDER with a lower loop.optimizer.learning_rate."
            )


def _what(values: Mapping[str, float], *, median: float, is_finite: bool) -> str:
    if is_finite:
        return f"grad_norm={values['grad_norm']:.3g} is a spike (its median is {median:.3g})"
    return f"{', '.join(n for n, v in values.items() if not math.isfinite(v))} is not finite"


def _named(rows: Sequence[Mapping[str, Any]]) -> str:
    """A few rows of each source in words."""
    if not rows:
        return "its rows are not known"
    by_source: dict[str, list[int]] = {}
    for row in rows:
        by_source.setdefault(row["source"], []).append(row["row"])
    named = []
    for source, numbers in by_source.items():
        few = ", ".join(map(str, numbers[:ROWS_NAMED]))
        more = len(numbers) - ROWS_NAMED
        named.append(f"{source} rows {few}" + (f" and {more} more" if more > 0 else ""))
    return f"its samples are {'; '.join(named)}"
