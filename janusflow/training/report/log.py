"""The log: a line of numbers every few steps, also in words, above a progress bar."""

import math
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from janusflow.config.files import append_line, drop_lines_from
from janusflow.config.training import LoopConfig
from janusflow.data.batches.mixture import KINDS
from janusflow.training.engine.distributed import is_main_process
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.estimate.utilisation import Utilisation
from janusflow.training.report.trackers import Tracker

LOG = "log.jsonl"
GIB = 2**30


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
        if is_main_process():
            for line in filter(None, (loop.rates(), threads_hint())):
                tqdm.write(line, file=sys.stderr)
        self.trackers, self.mfu = trackers, mfu
        self._reports: list[StepReport] = []
        self._since = time.perf_counter()
        self._bar: tqdm | None = None

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Collect; write when due. The first process writes for all."""
        if not is_main_process():
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


def threads_hint() -> str | None:
    """What makes a run many times faster on a CPU that others use too; None elsewhere."""
    threads, loads = torch.get_num_threads(), getattr(os, "getloadavg", None)
    if torch.cuda.is_available() or threads == 1 or loads is None:
        return None
    load, cores = loads()[0], os.cpu_count() or 1
    if load <= cores:
        return None
    return (
        f"load {load:.0f} on {cores} cores, and {threads} threads here: OMP_NUM_THREADS=1 may be "
        "many times faster"
    )


def summarise(
    reports: Sequence[StepReport], *, seconds: float, mfu: Utilisation | None = None
) -> dict[str, float]:
    """Means of losses and gradient norm over some steps, and rates by the clock.

    Reads the losses from the device. Values that are no number are left out of a mean.
    """
    line: dict[str, float] = {}
    for name in dict.fromkeys(name for report in reports for name in report.losses):
        line |= _mean(name, [float(r.losses[name]) for r in reports if name in r.losses])
    line |= _mean("grad_norm", [float(report.grad_norm) for report in reports])
    line["learning_rate"] = reports[-1].learning_rate
    batch_stats: Counter[str] = Counter()
    for report in reports:
        batch_stats.update(report.batch_stats)
    line["samples_per_second"] = batch_stats["samples"] / seconds
    line |= _of_rows(batch_stats, seconds)
    line["waiting_share"] = sum(report.seconds_waiting for report in reports) / seconds
    line["memory_gib"] = peak_memory() / GIB
    if mfu is not None:
        line["mfu"] = mfu(batch_stats, seconds)
    return line


def _mean(name: str, values: Sequence[float]) -> dict[str, float]:
    finite = [value for value in values if math.isfinite(value)]
    return {name: sum(finite) / len(finite)} if finite else {}


def _of_rows(batch_stats: Mapping[str, int], seconds: float) -> dict[str, float]:
    """What only packed rows have."""
    if not batch_stats["positions"]:
        return {}
    num_images = batch_stats["understanding_images"] + batch_stats["generation_images"]
    return {
        "tokens_per_second": batch_stats["tokens"] / seconds,
        "images_per_second": num_images / seconds,
        "padding_share": 1 - batch_stats["tokens"] / batch_stats["positions"],
        **{f"{kind}_share": batch_stats[kind] / batch_stats["samples"] for kind in KINDS},
    }


def peak_memory() -> int:
    """Most memory the process has held so far, in bytes: of the GPU, or without one of the host."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_words(line: Mapping[str, float], *, losses: Sequence[str]) -> str:
    """A log line for people, e.g. `flow 0.512, grad norm 0.83, ..., 12,300 tokens/s`."""
    told = [f"{name} {line[name]:.3f}" for name in losses if name in line]
    shares = [f"{line[f'{kind}_share']:.0%} {kind}" for kind in KINDS if f"{kind}_share" in line]
    for name, form in {
        "grad_norm": "grad norm {:.2f}",
        "learning_rate": "learning rate {:.1e}",
        "tokens_per_second": "{:,.0f} tokens/s",
        "images_per_second": "{:.1f} images/s",
        "samples_per_second": "{:.1f} samples/s",
        "padding_share": "padding {:.1%}",
        "waiting_share": "waiting {:.0%}",
        "memory_gib": "{:.1f} GiB",
        "mfu": "MFU {:.0%}",
    }.items():
        if name in line:
            told.append(form.format(line[name]))
    return ", ".join(told + shares)
