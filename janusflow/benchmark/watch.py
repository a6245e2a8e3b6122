"""Time and peak memory of a block: wall clock, processor time, resident or GPU memory."""

import resource
import sys
import time
from pathlib import Path

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What makes Linux forget a process's peak of resident memory (proc(5))."""
KIBI = 1024


class Stopwatch:
    """Measures the block it surrounds, once; blocks within it are part of it."""

    def __init__(self, device: str) -> None:
        self.is_cuda = torch.device(device).type == "cuda"
        self.seconds = self.cpu_seconds = 0.0
        self.peak_bytes = 0
        self.laps: list[float] = []
        self._depth = 0

    def __enter__(self) -> "Stopwatch":
        self._depth += 1
        if self._depth > 1:
            return self
        self._wait()
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            _forget_peak()
        self._cpu_start, self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        self._wait()
        self.seconds = time.perf_counter() - self._start
        self.cpu_seconds = time.process_time() - self._cpu_start
        self.peak_bytes = torch.cuda.max_memory_allocated() if self.is_cuda else peak_resident()

    def lap(self) -> None:
        """Note the time since the start: processor time, or wall clock where a GPU computes.

        Within another block nothing is noted: the outermost one is measured as a whole.
        """
        if self._depth > 1:
            return
        self._wait()
        elapsed = time.perf_counter() - self._start
        self.laps.append(elapsed if self.is_cuda else time.process_time() - self._cpu_start)

    def _wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()


def _forget_peak() -> None:
    if CLEAR.exists():
        CLEAR.write_text(RESET_PEAK, encoding="ascii")


def peak_resident() -> int:
    """Bytes; since the last `Stopwatch` began on Linux, of the whole process elsewhere."""
    if STATUS.exists():
        line = STATUS.read_text(encoding="utf-8").partition("VmHWM:")[2]
        return KIBI * int(line.split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else KIBI * peak
