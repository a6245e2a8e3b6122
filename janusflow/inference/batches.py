"""Many pictures: split into batches, each picture with its own noise, each decoded once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import janusflow
from janusflow.config.errors import ConfigError, PromptError
from janusflow.flow import StepInfo, sample_noise
from janusflow.inference.drawing import (
    ADAPTIVE,
    DrawingSettings,
    Original,
    ReadPrompts,
    draw_latents,
    times_from,
    velocity_of_pictures,
)
from janusflow.inference.metadata import DrawingRecord
from janusflow.inference.pictures import decode_latents
from janusflow.inference.seeds import of_candidates
from janusflow.model.modeling import JanusFlowForConditionalGeneration

DEFAULT_BATCH_SIZE = 8
"""Pictures drawn side by side unless told otherwise; guidance doubles it inside."""


@dataclass(frozen=True, kw_only=True)
class PictureJob:
    """One picture to draw."""

    prompt_index: int
    """Among the order's prompts."""
    read_index: int
    """Among those that the model reads."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Order:
    """All pictures of one call, and what they have in common."""

    prompts: tuple[str, ...]
    negative_prompt: str | None
    num_images: int
    """Per prompt."""
    first_seed: int
    settings: DrawingSettings
    original: Original | None
    plans: tuple[str, ...] | None = None
    """For every candidate what is drawn instead of its prompt."""

    def __post_init__(self) -> None:
        if not self.prompts or self.num_images < 1:
            raise PromptError(
                f"{len(self.prompts)} prompts, num_images={self.num_images}: give at least one of "
                "each."
            )
        is_own = self.original is not None and self.original.own is not None
        if is_own and self.num_images * self.settings.best_of > 1:
            raise ConfigError(
                f"invert with num_images={self.num_images}, best_of={self.settings.best_of}: a "
                "picture has one noise of its own, so all would be the same. Use 1 of each."
            )

    @cached_property
    def jobs(self) -> list[PictureJob]:
        """All first candidates, then all second ones, ...; each time prompt by prompt.

        Picture i has the i-th seed.
        """
        rows = [index for index in range(len(self.prompts)) for _ in range(self.num_images)]
        places = [
            (row, seed + i)
            for seed in of_candidates(self.first_seed, self.settings.best_of)
            for i, row in enumerate(rows)
        ]
        return [
            PictureJob(prompt_index=row, read_index=row if self.plans is None else place, seed=seed)
            for place, (row, seed) in enumerate(places)
        ]

    @property
    def asked(self) -> list[str]:
        """What each candidate is to show."""
        return [self.prompts[job.prompt_index] for job in self.jobs]

    @property
    def read(self) -> tuple[str, ...]:
        """The prompts that the model reads."""
        return self.prompts if self.plans is None else self.plans

    def record(self, job: PictureJob, *, model: str) -> DrawingRecord:
        """All that is needed to draw a job's picture again with the model of this name."""
        settings, original = self.settings, self.original
        return DrawingRecord(
            prompt=self.prompts[job.prompt_index],
            plan=None if self.plans is None else self.plans[job.read_index],
            negative_prompt=self.negative_prompt,
            seed=job.seed,
            steps=settings.steps,
            guidance=settings.guidance,
            solver=settings.solver,
            shift=settings.shift,
            numerics=settings.numerics,
            grid=settings.grid,
            guidance_rescale=settings.guidance_rescale,
            reuse=settings.reuse,
            strength=None if original is None else original.strength,
            model=model,
            version=janusflow.__version__,
        )


@dataclass(frozen=True, kw_only=True)
class DrawingStep:
    """What `on_step` is told after every step; pictures are decoded when first looked at."""

    index: int
    """Steps this batch made before this one."""
    steps: int | None
    """Steps this batch makes in all; None where the solver chooses."""
    t: float
    """Where on the path the step started: 0 is noise."""
    first_picture: int
    """Which of the call's pictures the first of this batch is."""
    info: StepInfo = field(repr=False)
    vae: AutoencoderKL = field(repr=False)

    @cached_property
    def preview(self) -> list[Image.Image]:
        """The pictures this batch would end as if it went straight on from here."""
        return decode_latents(self.vae, self.info.predicted_data.float())

    @cached_property
    def state(self) -> list[Image.Image]:
        """The points on the path themselves: noise at first, pictures in the end."""
        return decode_latents(self.vae, self.info.x_t.float())


OnStep = Callable[[DrawingStep], None]


@dataclass(frozen=True, kw_only=True)
class Drawer:
    """Draws jobs of one call: what all its batches share."""

    model: JanusFlowForConditionalGeneration
    vae: AutoencoderKL
    prompts: ReadPrompts
    settings: DrawingSettings
    original: Original | None = None
    on_step: OnStep | None = None

    def draw(
        self, jobs: Sequence[PictureJob], *, batch_size: int | None = None
    ) -> list[Image.Image]:
        """Draw every job, `batch_size` at a time; the pictures do not depend on it."""
        size = batch_size_for(self.settings, batch_size)
        pictures: list[Image.Image] = []
        for first in range(0, len(jobs), size):
            pictures += self._draw_batch(jobs[first : first + size], first_picture=first)
        return pictures

    def num_steps(self) -> int | None:
        """Steps of one batch, None where the solver chooses."""
        if self.settings.solver == ADAPTIVE:
            return None
        start = 0.0 if self.original is None else 1.0 - self.original.strength
        return len(times_from(start, self.settings)) - 1

    def _draw_batch(self, jobs: Sequence[PictureJob], *, first_picture: int) -> list[Image.Image]:
        latents = draw_latents(
            velocity_of_pictures(
                self.model,
                self.prompts,
                [job.read_index for job in jobs],
                settings=self.settings,
            ),
            self.noise(jobs),
            settings=self.settings,
            original=self.original,
            on_step=self.teller(first_picture),
        )
        return decode_latents(self.vae, latents.to(self.vae.device))

    def noise(self, jobs: Sequence[PictureJob]) -> Float[Tensor, "b c y x"]:
        """The noise that the jobs' seeds stand for."""
        flow = self.model.config.flow
        shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
        return sample_noise(shape, seeds=[job.seed for job in jobs], device=self.model.device)

    def teller(self, first_picture: int) -> Callable[[StepInfo], None] | None:
        """What tells `on_step` of the steps of a batch; None where nobody listens."""
        if self.on_step is None:
            return None
        on_step, steps = self.on_step, self.num_steps()

        def tell(info: StepInfo) -> None:
            on_step(
                DrawingStep(
                    index=info.index,
                    steps=steps,
                    t=info.t,
                    first_picture=first_picture,
                    info=info,
                    vae=self.vae,
                )
            )

        return tell


def batch_size_for(settings: DrawingSettings, wanted: int | None) -> int:
    """How many pictures are drawn side by side."""
    if wanted is not None and wanted < 1:
        raise ConfigError(f"batch_size={wanted}: draw at least 1 picture at a time.")
    # dopri5 chooses its steps on the worst of a batch, so a picture would depend on the others.
    return 1 if settings.solver == ADAPTIVE else wanted or DEFAULT_BATCH_SIZE


def draw_with_bar(
    drawer: Drawer,
    jobs: Sequence[PictureJob],
    *,
    on_step: OnStep | None,
    show: bool,
    batch_size: int | None,
) -> list[Image.Image]:
    """Draw, with a bar on stderr that counts the steps of all batches."""
    num_steps = drawer.num_steps()
    num_batches = math.ceil(len(jobs) / batch_size_for(drawer.settings, batch_size))
    total = None if num_steps is None else num_steps * num_batches
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(total=total, desc="drawing", unit="step", disable=None if show else True) as bar:

        def advance(step: DrawingStep) -> None:
            bar.update()
            if on_step is not None:
                on_step(step)

        return replace(drawer, on_step=advance).draw(jobs, batch_size=batch_size)
