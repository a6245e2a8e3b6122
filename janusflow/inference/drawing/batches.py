"""Many images: split into batches, each image with its own noise, each decoded once."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

import janusflow
from janusflow.config.errors import ConfigError, PromptError
from janusflow.flow import StepInfo, sample_noise
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.metadata import DrawingRecord
from janusflow.inference.drawing.sampling import (
    ADAPTIVE,
    DrawingSettings,
    InitImage,
    PromptEncoding,
    draw_latents,
    times_from,
    velocity_of_images,
)
from janusflow.inference.drawing.seeds import of_candidates
from janusflow.model.modeling import JanusFlowForConditionalGeneration

DEFAULT_BATCH_SIZE = 8
"""Images drawn side by side unless told otherwise; guidance doubles it inside."""


@dataclass(frozen=True, kw_only=True)
class ImageJob:
    """One image to draw: a candidate for one of the order's, mostly the only one."""

    prompt: str
    seed: int
    plan: str | None = None
    """What is drawn instead of the prompt."""

    @property
    def read(self) -> str:
        """What the model reads."""
        return self.prompt if self.plan is None else self.plan


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """All images of one call, and what they have in common."""

    prompts: tuple[str, ...]
    negative_prompt: str | None
    num_images: int
    """Per prompt."""
    first_seed: int
    settings: DrawingSettings
    original: InitImage | None

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
                "image has one noise of its own, so all would be the same. Use 1 of each."
            )

    @cached_property
    def jobs(self) -> list[ImageJob]:
        """Prompt by prompt, candidates of one image one after the other.

        Image i has the i-th seed.
        """
        asked = [prompt for prompt in self.prompts for _ in range(self.num_images)]
        return [
            ImageJob(prompt=prompt, seed=seed)
            for i, prompt in enumerate(asked)
            for seed in of_candidates(self.first_seed + i, self.settings.best_of)
        ]

    def record(self, job: ImageJob, *, model: str) -> DrawingRecord:
        """All that is needed to draw a job's image again with the model of this name."""
        settings, original = self.settings, self.original
        return DrawingRecord(
            prompt=job.prompt,
            plan=job.plan,
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
    """What `on_step` is told after every step; images are decoded when first looked at."""

    index: int
    """Steps this batch made before this one."""
    steps: int | None
    """Steps this batch makes in all; None where the solver chooses."""
    t: float
    """Where on the path the step started: 0 is noise."""
    first_image: int
    """Which of the call's images, candidates counted, the first of this batch is."""
    info: StepInfo = field(repr=False)
    vae: AutoencoderKL = field(repr=False)

    @cached_property
    def preview(self) -> list[Image.Image]:
        """The images this batch would end as if it went straight on from here."""
        return decode_latents(self.vae, self.info.predicted_data.float())

    @cached_property
    def state(self) -> list[Image.Image]:
        """The points on the path themselves: noise at first, images in the end."""
        return decode_latents(self.vae, self.info.x_t.float())


OnStep = Callable[[DrawingStep], None]
OnImage = Callable[[int, Image.Image], None]
"""Told the place of a finished image among the call's, and the image."""


@dataclass(frozen=True, kw_only=True)
class BatchSampler:
    """Draws jobs whose texts are read already."""

    model: JanusFlowForConditionalGeneration
    vae: AutoencoderKL
    texts: Sequence[str]
    prompts: PromptEncoding
    """One a text."""
    settings: DrawingSettings
    original: InitImage | None = None
    on_step: OnStep | None = None

    def draw(self, jobs: Sequence[ImageJob], *, first_image: int) -> list[Image.Image]:
        """Draw the jobs side by side; no image depends on those beside it."""
        latents = draw_latents(
            velocity_of_images(
                self.model,
                self.prompts,
                [self.row(job) for job in jobs],
                settings=self.settings,
            ),
            self.noise(jobs),
            settings=self.settings,
            original=self.original,
            on_step=self.teller(first_image),
        )
        return decode_latents(self.vae, latents.to(self.vae.device))

    def has_read(self, jobs: Sequence[ImageJob]) -> bool:
        """Whether it can draw these."""
        return {job.read for job in jobs} <= set(self.texts)

    def row(self, job: ImageJob) -> int:
        """Where among the prompts the job's text is."""
        return self.texts.index(job.read)

    def noise(self, jobs: Sequence[ImageJob]) -> Float[Tensor, "b c y x"]:
        """The noise that the jobs' seeds stand for."""
        flow = self.model.config.generation
        shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
        return sample_noise(shape, seeds=[job.seed for job in jobs], device=self.model.device)

    def teller(self, first_image: int) -> Callable[[StepInfo], None] | None:
        """What tells `on_step` of the steps of a batch; None where nobody listens."""
        if self.on_step is None:
            return None
        on_step, steps = self.on_step, steps_of(self.settings, self.original)

        def tell(info: StepInfo) -> None:
            on_step(
                DrawingStep(
                    index=info.index,
                    steps=steps,
                    t=info.t,
                    first_image=first_image,
                    info=info,
                    vae=self.vae,
                )
            )

        return tell


def batch_size_for(settings: DrawingSettings, wanted: int | None) -> int:
    """How many images are drawn side by side."""
    if wanted is not None and wanted < 1:
        raise ConfigError(f"batch_size={wanted}: draw at least 1 image at a time.")
    # dopri5 chooses its steps on the worst of a batch, so an image would depend on the others.
    return 1 if settings.solver == ADAPTIVE else wanted or DEFAULT_BATCH_SIZE


def steps_of(settings: DrawingSettings, original: InitImage | None) -> int | None:
    """Steps that a batch makes, None where the solver chooses."""
    if settings.solver == ADAPTIVE:
        return None
    start = 0.0 if original is None else 1.0 - original.strength
    return len(times_from(start, settings)) - 1


@contextmanager
def step_bar(
    order: GenerationRequest, *, batch_size: int, on_step: OnStep | None, show: bool
) -> Iterator[OnStep]:
    """A bar on stderr that counts the steps of all batches; gives what is to be told of them."""
    num_steps = steps_of(order.settings, order.original)
    num_batches = math.ceil(len(order.jobs) / batch_size)
    total = None if num_steps is None else num_steps * num_batches
    # disable=None: no bar where stderr is not a terminal.
    with tqdm(total=total, desc="drawing", unit="step", disable=None if show else True) as bar:

        def advance(step: DrawingStep) -> None:
            bar.update()
            if on_step is not None:
                on_step(step)

        yield advance


def collected(images: Iterable[Image.Image], on_image: OnImage | None) -> list[Image.Image]:
    """All images; each is told of as it comes."""
    found: list[Image.Image] = []
    for index, image in enumerate(images):
        found.append(image)
        if on_image is not None:
            on_image(index, image)
    return found
