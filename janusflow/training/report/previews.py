"""Samples as training goes on, from the averaged weights: images, answers, numbers.

How a model draws and answers is handed over by the command line: training does not know inference.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from torch import Tensor

from janusflow.config.errors import ConfigError
from janusflow.config.files import append_line, drop_lines_from
from janusflow.config.learning.log import LogConfig
from janusflow.data.samples import GenerationSample
from janusflow.data.sources.base import BadRows, WeightedSource, build_sample
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.image_files import open_image
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.engine.distributed import is_main_process
from janusflow.training.engine.loop import StepReport, TrainState
from janusflow.training.report.trackers import Tracker

FOLDER = "samples"
SAMPLES = "samples.jsonl"
NUM_PROMPTS = 4
"""Prompts taken from the sources where the recipe names none."""


Sampler = Callable[
    [JanusFlowForConditionalGeneration, JanusFlowProcessor, AutoencoderKL, LogConfig],
    tuple[list[Image.Image], list[str]],
]
"""Draws the prompts and answers the questions of a recipe, always with the same seeds."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An image for trackers."""

    name: str
    image: Image.Image
    caption: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What is shown of a model in training at one step."""

    told: Mapping[str, Any] = field(default_factory=dict)
    """Of samples.jsonl."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Of samples.jsonl and trackers."""
    sheet: Image.Image | None = None
    """For `samples/<step>.png`."""
    shown: Sequence[Shown] = ()


class SampleHook(ABC):
    """Every so many steps: `samples/<step>.png`, a line of samples.jsonl, trackers.

    Args:
        every: steps between samples.
        module: name of the objective's module that is shown.
        trackers: get the images and the numbers.
    """

    def __init__(self, every: int, module: str, trackers: Sequence[Tracker]) -> None:
        self.every, self.module, self.trackers = every, module, trackers
        self._has_begun = False

    @abstractmethod
    def sample(self, weights: dict[str, Tensor]) -> Sample:
        """Show what a copy of the module does with these weights, which may only be read."""

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Sample when due: every process gives its shards, the first one samples."""
        if not self._has_begun and is_main_process():
            drop_lines_from(state.run / SAMPLES, step=report.step)
        self._has_begun = True
        if report.step % self.every:
            return
        weights = state.averaged_weights(self.module, share_frozen=True)
        if not is_main_process():
            return
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            self._write(state.run, report.step, self.sample(weights))

    def _write(self, run: Path, step: int, sample: Sample) -> None:
        line = {"step": step, **sample.told, **sample.numbers}
        if sample.sheet is not None:
            path = Path(FOLDER) / f"{step:08d}.png"
            (run / FOLDER).mkdir(exist_ok=True)
            sample.sheet.save(run / path)
            line["sheet"] = str(path)
        append_line(run / SAMPLES, line)
        for tracker in self.trackers:
            if sample.numbers:
                tracker.log(step, sample.numbers)
            for each in sample.shown:
                tracker.show(step, each.name, each.image, caption=each.caption)


class StageSamples(SampleHook):
    """Images of the recipe's prompts and answers to its questions.

    Raises:
        ConfigError: there is neither a prompt nor a question.
        ImageError: an image that is asked about is missing or damaged.
    """

    def __init__(
        self,
        config: LogConfig,
        sampler: Sampler,
        *,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        build: Callable[[dict[str, Tensor]], JanusFlowForConditionalGeneration],
        trackers: Sequence[Tracker] = (),
    ) -> None:
        if not (config.prompts or config.questions):
            raise ConfigError(
                f"log.samples_every={config.samples_every} without anything to draw or to ask: "
                "name log.prompts or log.questions."
            )
        super().__init__(config.samples_every, "model", trackers)
        self.config, self.sampler = config, sampler
        self.processor, self.vae, self.build = processor, vae, build
        self.images = [open_image(asked.image) for asked in config.questions]

    def sample(self, weights: dict[str, Tensor]) -> Sample:
        """Draw and ask."""
        config = self.config
        images, answers = self.sampler(self.build(weights), self.processor, self.vae, config)
        told, shown = [], []
        sheet = contact_sheet(images) if images else None
        if sheet is not None:
            caption = " | ".join(config.prompts)
            shown.append(Shown(name="drawings", image=sheet, caption=caption))
        for number, (asked, answer) in enumerate(zip(config.questions, answers, strict=True)):
            told.append({"image": str(asked.image), "question": asked.question, "answer": answer})
            caption = f"{asked.question} {answer}"
            image = self.images[number]
            shown.append(Shown(name=f"answer {number}", image=image, caption=caption))
        return Sample(
            told={"prompts": list(config.prompts), "answers": told}, sheet=sheet, shown=shown
        )


def first_prompts(sources: Sequence[WeightedSource], *, seed: int) -> tuple[str, ...]:
    """The prompts of the first images that a run learns to draw."""
    prompts = []
    for ordinal in range(NUM_PROMPTS if sources else 0):
        sample = build_sample(
            sources,
            ordinal,
            seed=seed,
            rng=np.random.default_rng((seed, ordinal)),
            build=lambda sample: sample,
            bad=BadRows(max_share=1.0),
        )
        if isinstance(sample, GenerationSample) and not sample.images:
            prompts.append(sample.prompt)
    return tuple(prompts)


def contact_sheet(images: Sequence[Image.Image]) -> Image.Image:
    """Images of one size side by side, in rows about as many as columns, read like a page."""
    width, height = images[0].size
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        sheet.paste(image, (column * width, row * height))
    return sheet
