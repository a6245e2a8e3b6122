"""Hooks of the loop: a log line and a progress bar every few steps."""

import json
import time
from pathlib import Path

from tqdm import tqdm

from janusflow.training.loop import StepReport, TrainState, check_finite
from janusflow.training.processes import is_first

LOG = "log.jsonl"


class LogHook:
    """Appends one JSON line every `every` steps to the run's log and moves a progress bar.

    Only here are losses read from the device, averaged over the steps since the last line.
    """

    def __init__(self, run: Path, *, every: int, steps: int, name: str) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.path = run / LOG
        self.every, self.steps, self.name = every, steps, name
        self._reports: list[StepReport] = []
        self._since = time.perf_counter()
        self._bar: tqdm | None = None

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Collect; write when due. The first process writes for all.

        Raises:
            TrainingError: a loss since the last line is not finite.
        """
        if not is_first():
            return
        if self._bar is None:
            self._drop_lines_from(report.step)
            self._bar = tqdm(total=self.steps, initial=report.step - 1, desc=self.name, unit="step")
        self._bar.update()
        self._reports.append(report)
        if report.step % self.every and report.step != self.steps:
            return
        line = self._line(state)
        with self.path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self._bar.set_postfix({name: f"{line[name]:.3f}" for name in report.losses})
        for each in self._reports:
            check_finite(each)
        self._reports, self._since = [], time.perf_counter()

    def _drop_lines_from(self, step: int) -> None:
        """A resumed run repeats the steps after its checkpoint: their old lines go."""
        if not self.path.exists():
            return
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] < step]
        self.path.write_text("".join(kept), encoding="utf-8")

    def _line(self, state: TrainState) -> dict[str, float | int]:
        last = self._reports[-1]
        count = len(self._reports)
        seconds = time.perf_counter() - self._since
        line: dict[str, float | int] = {
            "step": last.step,
            "samples": state.samples_seen,
            "time": time.time(),
        }
        for name in dict.fromkeys(name for report in self._reports for name in report.losses):
            found = [float(r.losses[name]) for r in self._reports if name in r.losses]
            line[name] = sum(found) / len(found)
        line["grad_norm"] = sum(float(r.grad_norm) for r in self._reports) / count
        line["learning_rate"] = last.learning_rate
        line["samples_per_second"] = sum(r.num_samples for r in self._reports) / seconds
        return line
