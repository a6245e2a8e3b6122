"""Time and memory of loading a model, of an image and of an answer.

The comparison with the authors' code (benchmarks/versus_official) measures their side with these
functions too, in an environment of other libraries: at import, this file needs torch alone.
"""

import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

IMAGE_SIZE = (500, 400)
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"
"""What makes Linux forget a process's peak of resident memory (proc(5))."""
KIBI = 1024


@dataclass(frozen=True, kw_only=True)
class SpeedSettings:
    """What is drawn and asked."""

    case: str = "image"
    prompt: str = "a red circle left of a blue square"
    question: str = "What is in the image?"
    batch: int = 1
    """Images drawn at once."""
    images: int = 1
    """Asked about in one question."""
    steps: int = 30
    """Of Euler."""
    guidance: float = 2.0
    new_tokens: int = 16
    """Of an answer, at most."""
    seed: int = 0

    @property
    def label(self) -> str:
        """The case with its number of images, e.g. `image, batch 4`."""
        number = f"images {self.images}" if self.case == "ask" else f"batch {self.batch}"
        return f"{self.case}, {number}"


class Stopwatch:
    """Measures the block it surrounds: seconds, processor seconds of all threads, peak bytes."""

    def __init__(self, device: str) -> None:
        self.is_cuda = torch.device(device).type == "cuda"
        self.laps: list[float] = []

    def __enter__(self) -> "Stopwatch":
        self._wait()
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats()
        elif CLEAR.exists():
            CLEAR.write_text(RESET_PEAK, encoding="ascii")
        self._cpu_start, self._start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._wait()
        self.seconds = time.perf_counter() - self._start
        self.cpu_seconds = time.process_time() - self._cpu_start
        self.peak_bytes = torch.cuda.max_memory_allocated() if self.is_cuda else peak_resident()

    def lap(self) -> None:
        """Note the seconds from the start to a token."""
        self._wait()
        self.laps.append(time.perf_counter() - self._start)

    def _wait(self) -> None:
        if self.is_cuda:
            torch.cuda.synchronize()


def peak_resident() -> int:
    """Bytes; since the last `Stopwatch` began on Linux, of the whole process elsewhere."""
    if STATUS.exists():
        line = STATUS.read_text(encoding="utf-8").partition("VmHWM:")[2]
        return KIBI * int(line.split()[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else KIBI * peak


class OurModel:
    """This package's `jf`; each method puts the watch around what counts, and returns an array."""

    def load(self, watch: Stopwatch, folder: str, **options: Any) -> None:
        """`janusflow.load`."""
        from janusflow.inference.loading import load

        with watch:
            self.jf = load(folder, **options)

    def image(self, settings: SpeedSettings, watch: Stopwatch) -> np.ndarray:
        """`jf.generate`; levels of 255 [b, h, w, 3]."""
        with watch:
            drawn = self.jf.generate(
                settings.prompt,
                num_images=settings.batch,
                batch_size=settings.batch,
                steps=settings.steps,
                guidance=settings.guidance,
                seed=settings.seed,
                plan="never",
            )
        return np.stack([np.asarray(image) for image in drawn])

    @torch.no_grad()
    def ask(self, settings: SpeedSettings, watch: Stopwatch) -> np.ndarray:
        """What `jf.ask` does, with a lap at every token; token ids [t]."""
        from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
        from janusflow.inference.answering.chat import question_message
        from janusflow.inference.answering.decoding import AnsweringSettings

        images = random_images(settings.images, seed=settings.seed)
        question = QuestionRequest(
            messages=[question_message(images, settings.question)],
            settings=AnsweringSettings(max_new_tokens=settings.new_tokens),
            seed=0,
        )
        batch = AnswerBatch(self.jf.model, self.jf.processor)
        with watch:
            prepared = self.jf.prepare_inputs([question.messages], allow_paths=False)
            batch.add(prepared, [question])
            while batch.answers:
                batch.choose()
                watch.lap()
                batch.read()
        return np.array(question.token_ids)


def measure(
    model: Any, runs: Sequence[SpeedSettings], *, repeats: int, device: str, **options: Any
) -> Iterator[tuple[str, dict[str, float], np.ndarray | None]]:
    """Load the model, then make every run so many times.

    Args:
        model: an `OurModel`, or what has its methods.
        runs: what is drawn and asked, one after another.
        repeats: of every run. The first also does what loading put off: where there are others,
            it is reported as `first_seconds` alone.
        device: where the model runs.
        options: of the model's `load`.

    Returns:
        For loading and every run its label, its times and memory, and its last output.
    """
    watch = Stopwatch(device)
    model.load(watch, device=device, **options)
    yield "load", summarise([watch]), None
    for settings in runs:
        output, watches = None, [Stopwatch(device) for _ in range(repeats)]
        for watch in watches:
            output = getattr(model, settings.case)(settings, watch)
        yield settings.label, summarise(watches), output


def summarise(watches: Sequence[Stopwatch]) -> dict[str, float]:
    """Medians of what was measured, by name."""
    later = watches[1:] or watches
    found = {
        "seconds": median(watch.seconds for watch in later),
        "cpu_seconds": median(watch.cpu_seconds for watch in later),
        "first_seconds": watches[0].seconds,
        "peak_gb": max(watch.peak_bytes for watch in watches) / 1e9,
    }
    if all(len(watch.laps) > 1 for watch in later):
        found["first_token_seconds"] = median(watch.laps[0] for watch in later)
        found["token_seconds"] = median(
            (watch.laps[-1] - watch.laps[0]) / (len(watch.laps) - 1) for watch in later
        )
    return found


def random_images(number: int, *, seed: int) -> list[Image.Image]:
    """RGB images to ask about, no two alike."""
    width, height = IMAGE_SIZE
    levels = np.random.default_rng(seed).integers(0, 256, (number, height, width, 3), np.uint8)
    return [Image.fromarray(each) for each in levels]
