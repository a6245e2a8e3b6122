"""Hooks of the loop: a log line and a progress bar every few steps."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from janusflow.config.files import append_line, drop_lines_from
from janusflow.config.training import LoopConfig
from janusflow.training.engine.distributed import is_first
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.estimate.utilisation import Utilisation
from janusflow.training.report.summary import in_words, summarise
from janusflow.training.report.trackers import Tracker

LOG = "log.jsonl"


class LogHook:
    """A line every `loop.log_every` steps, to the run's log, the console and trackers.

    Below it a progress bar moves. Only with a line are losses read from the device, averaged over
    the steps since the last one.
    """

    def __init__(
        self,
        run: Path,
        loop: LoopConfig,
        *,
        trackers: Sequence[Tracker] = (),
        mfu: Utilisation | None = None,
    ) -> None:
        run.mkdir(parents=True, exist_ok=True)
        self.path = run / LOG
        self.every, self.steps = loop.log_every, loop.steps
        self.trackers, self.mfu = trackers, mfu
        self._reports: list[StepReport] = []
        self._since = time.perf_counter()
        self._bar: tqdm | None = None

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Collect; write when due. The first process writes for all."""
        if not is_first():
            return
        if self._bar is None:
            drop_lines_from(self.path, step=report.step)
            name = self.path.parent.name
            self._bar = tqdm(total=self.steps, initial=report.step - 1, desc=name, unit="step")
        self._bar.update()
        self._reports.append(report)
        if report.step % self.every and report.step != self.steps:
            return
        now = time.perf_counter()
        values = summarise(self._reports, seconds=now - self._since, mfu=self.mfu)
        place = {"step": report.step, "samples": state.samples_seen, "time": time.time()}
        append_line(self.path, place | values)
        told = in_words(values, losses=list(report.losses))
        tqdm.write(f"step {report.step}: {told}", file=sys.stderr)
        for tracker in self.trackers:
            tracker.log(report.step, values)
        self._reports, self._since = [], now
