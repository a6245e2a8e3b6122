"""Sample pictures and answers as training goes on, from the averaged weights.

How to draw and to ask is handed over by the command line: training does not know inference.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.config.errors import ConfigError
from janusflow.config.log import LogConfig
from janusflow.data.samples import GenerationSample
from janusflow.data.sources import BadRows, Weighted, draw
from janusflow.interop.load import filled_model
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.picture_files import open_image
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.loop import StepReport, TrainState
from janusflow.training.pretrain import averaged
from janusflow.training.processes import device, is_first
from janusflow.training.run_files import append_line, drop_lines_from
from janusflow.training.scale import whole_state
from janusflow.training.trackers import Tracker

FOLDER = "samples"
SAMPLES = "samples.jsonl"
NUM_PROMPTS = 4
"""Prompts taken from the sources where the recipe names none."""


Sampler = Callable[
    [JanusFlowForConditionalGeneration, JanusFlowProcessor, AutoencoderKL, LogConfig],
    tuple[list[Image.Image], list[str]],
]
"""Draws the prompts and answers the questions of a recipe, always with the same seeds."""


class SampleHook:
    """Every `log.samples_every` steps: `samples/<step>.png`, a line of samples.jsonl, trackers.

    Raises:
        ConfigError: there is neither a prompt nor a question.
        ImageError: a picture that is asked about is missing or damaged.
    """

    def __init__(
        self,
        config: LogConfig,
        sampler: Sampler,
        *,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        trackers: Sequence[Tracker] = (),
    ) -> None:
        if not (config.prompts or config.questions):
            raise ConfigError(
                f"log.samples_every={config.samples_every} without anything to draw or to ask: "
                "name log.prompts or log.questions."
            )
        self.config, self.sampler, self.trackers = config, sampler, trackers
        self.processor, self.vae = processor, vae
        self.pictures = [open_image(asked.picture) for asked in config.questions]
        self._has_begun = False

    def after_step(self, state: TrainState, report: StepReport) -> None:
        """Draw and ask when due: every process gives its shards, the first one draws."""
        if not self._has_begun and is_first():
            drop_lines_from(state.run / SAMPLES, step=report.step)
        self._has_begun = True
        if report.step % self.config.samples_every:
            return
        model = cast(JanusFlowForConditionalGeneration, state.objective.get_submodule("model"))
        with averaged(state):
            weights = whole_state(model)
        if not is_first():
            return
        copy = filled_model(model.config, weights, device=device())
        pictures, answers = self.sampler(copy, self.processor, self.vae, self.config)
        self._write(state.run, report.step, pictures, answers)

    def _write(self, run: Path, step: int, pictures: list[Image.Image], answers: list[str]) -> None:
        config = self.config
        sheet = contact_sheet(pictures) if pictures else None
        path = Path(FOLDER) / f"{step:08d}.png"
        answered = [
            {"picture": str(asked.picture), "question": asked.question, "answer": answer}
            for asked, answer in zip(config.questions, answers, strict=True)
        ]
        line = {"step": step, "prompts": list(config.prompts), "answers": answered}
        if sheet is not None:
            (run / FOLDER).mkdir(exist_ok=True)
            sheet.save(run / path)
            line["sheet"] = str(path)
        append_line(run / SAMPLES, line)
        for tracker in self.trackers:
            if sheet is not None:
                tracker.show(step, "drawings", sheet, caption=" | ".join(config.prompts))
            for number, told in enumerate(answered):
                caption = f"{told['question']} {told['answer']}"
                tracker.show(step, f"answer {number}", self.pictures[number], caption=caption)


def first_prompts(sources: Sequence[Weighted], *, seed: int) -> tuple[str, ...]:
    """The prompts of the first pictures that a run learns to draw."""
    prompts = []
    for ordinal in range(NUM_PROMPTS if sources else 0):
        sample = draw(
            sources,
            ordinal,
            seed=seed,
            rng=np.random.default_rng((seed, ordinal)),
            build=lambda sample: sample,
            bad=BadRows(max_share=1.0),
        )
        if isinstance(sample, GenerationSample):
            prompts.append(sample.prompt)
    return tuple(prompts)


def contact_sheet(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size side by side, in rows about as many as columns, read like a page."""
    width, height = pictures[0].size
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        sheet.paste(picture, (column * width, row * height))
    return sheet
