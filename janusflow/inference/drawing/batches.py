"""One call's images: what is asked for, a record of each, and what is told of every step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

import janusflow
from janusflow.config.errors import ConfigError, PromptError
from janusflow.flow import StepInfo
from janusflow.inference.drawing.init_image import InitImage
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.metadata import DrawingRecord
from janusflow.inference.drawing.sampling import ADAPTIVE, DrawingSettings
from janusflow.inference.drawing.seeds import CANDIDATES_APART, chosen

DEFAULT_BATCH_SIZE = 8
"""Images drawn side by side unless told otherwise; guidance doubles it inside."""
RECORDED = ["steps", "guidance", "solver", "shift", "numerics", "grid", "guidance_rescale", "reuse"]
"""Settings that are in an image's record as they are."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """All images of one call, and what they have in common."""

    prompts: tuple[str, ...]
    plans: tuple[str, ...] | None = None
    """Texts drawn instead of the prompts, one a prompt; the model is asked for none then."""
    negative_prompt: str | None = None
    num_images: int = 1
    """Per prompt."""
    seed: int | Sequence[int] | None = None
    """Image i has seed + i, or the i-th; None is random. Afterwards one for each image."""
    settings: DrawingSettings
    init_image: InitImage | None = None
    batch_size: int | None = None
    """Images drawn side by side; None is DEFAULT_BATCH_SIZE."""

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size}: draw at least 1 image at a time.")
        # dopri5 chooses its steps on the worst of a batch, so an image would depend on the others.
        size = 1 if self.settings.solver == ADAPTIVE else self.batch_size or DEFAULT_BATCH_SIZE
        object.__setattr__(self, "batch_size", size)
        if not self.prompts or self.num_images < 1:
            raise PromptError(
                f"{len(self.prompts)} prompts, num_images={self.num_images}: give at least one of "
                "each."
            )
        for prompt in self.prompts + (self.plans or ()):
            if not isinstance(prompt, str):
                raise PromptError(f"prompt={prompt!r}: wanted words, or a list of them.")
        if self.plans is not None and len(self.plans) != len(self.prompts):
            raise PromptError(
                f"{len(self.plans)} plans for {len(self.prompts)} prompts: give one a prompt."
            )
        count, seeds = len(self.prompts) * self.num_images, self.seed
        if not isinstance(seeds, list | tuple):
            first = chosen(seeds)  # pyright: ignore[reportArgumentType] (it refuses the rest)
            seeds = range(first, first + count)
        elif len(seeds) != count:
            raise ConfigError(f"{len(seeds)} seeds for {count} images: give one an image, or one.")
        object.__setattr__(self, "seed", [*map(chosen, seeds)])
        is_inverted = self.init_image is not None and self.init_image.invert is not None
        if is_inverted and self.num_images * self.settings.best_of > 1:
            raise ConfigError(
                f"invert with num_images={self.num_images}, best_of={self.settings.best_of}: an "
                "image has one noise of its own, so all would be the same. Use 1 of each."
            )

    def records(self, **where: str | None) -> list[DrawingRecord]:
        """All that is needed to draw each image again, prompt by prompt.

        Without the plans that the model is still to make.

        Candidates of one image stand one after the other.

        Args:
            **where: model, device, dtype and adapters of the record.
        """
        assert isinstance(self.seed, list)
        settings, init, records = self.settings, self.init_image, list[DrawingRecord]()
        shared: dict[str, Any] = dict(zip(RECORDED, attrgetter(*RECORDED)(settings), strict=True))
        shared |= where
        for index, seed in enumerate(self.seed):
            place = index // self.num_images
            for candidate in range(settings.best_of):
                record = DrawingRecord(
                    prompt=self.prompts[place],
                    plan=None if self.plans is None else self.plans[place] or self.prompts[place],
                    negative_prompt=self.negative_prompt,
                    seed=seed + candidate * CANDIDATES_APART,
                    **shared,
                    strength=None if init is None else init.strength,
                    init_image=None if init is None else init.image_sha256,
                    mask=None if init is None else init.mask_sha256,
                    invert=None if init is None else init.invert,
                    version=janusflow.__version__,
                )
                records.append(record)
        return records


@dataclass(frozen=True, kw_only=True)
class DrawingStep:
    """What `on_step` is told after every step; images are decoded when first looked at."""

    first_image: int
    """Which of the call's images, candidates counted, the first of this batch is."""
    info: StepInfo = field(repr=False)
    vae: AutoencoderKL = field(repr=False)

    @property
    def index(self) -> int:
        """Steps this batch made before this one."""
        return self.info.index

    @property
    def steps(self) -> int | None:
        """Steps this batch makes in all; None where the solver chooses."""
        return self.info.num_steps

    @property
    def t(self) -> float:
        """Where on the path the step started: 0 is noise."""
        return self.info.t

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
