"""What a VAE learns from: rendered scenes, or images of any source that a stage could draw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from janusflow.config.data import SourceConfig
from janusflow.data.prepare import Preparation
from janusflow.data.samples import GenerationSample, Sample
from janusflow.data.sources.base import BadRows, WeightedSource, build_sample
from janusflow.data.sources.formats import open_source
from janusflow.mini.scenes.dataset import SceneFolder
from janusflow.mini.training.objectives import ImageBatch
from janusflow.mini.training.previews import NUM_REBUILT, held_out
from janusflow.mini.training.recipes import VaeRecipe
from janusflow.mini.training.sources import pixel_values
from janusflow.processing.images import JanusFlowImageProcessor

CHUNK = 128
"""Images that are encoded side by side."""
MAX_BAD_SHARE = 0.01
BAD_ROWS = "bad-rows.jsonl"
NO_TAG = ""
"""Images to draw stand in no question."""


def open_images(recipe: VaeRecipe) -> "Scenes | Sourced":
    """What a recipe names; values are in [-1, 1].

    Raises:
        ConfigError: a source's format is unknown or makes no images to draw.
        DataError: a file is missing or is something else.
    """
    if recipe.scenes is not None:
        scenes = SceneFolder(recipe.scenes)
        return Scenes(scenes=scenes, batch_size=recipe.batch_size, seed=recipe.loop.seed)
    return Sourced(recipe)


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Rendered scenes, drawn with replacement."""

    scenes: SceneFolder
    batch_size: int
    seed: int

    def batch(self, step: int, own: Sequence[int]) -> ImageBatch:
        """Some of a step's scenes; its image i depends on (seed, step, i) only."""
        rng = np.random.default_rng((self.seed, step))
        rows = np.sort(rng.integers(len(self.scenes), size=self.batch_size))
        seeds = rng.integers(2**63, size=self.batch_size)
        part = list(own)
        return ImageBatch(
            pixel_values=pixel_values(self.scenes.images[rows[part]]),
            seeds=tuple(seeds[part].tolist()),
        )

    def chunks(self, number: int | None = None) -> Iterator[Float[Tensor, "n c y x"]]:
        """The first so many scenes, or all."""
        images: UInt8[np.ndarray, "n y x 3"] = self.scenes.images[:number]
        for start in range(0, len(images), CHUNK):
            yield pixel_values(images[start : start + CHUNK])

    def held_out(self) -> Float[Tensor, "n c y x"]:
        """Scenes of compositions that no folder of scenes holds."""
        return pixel_values(held_out(NUM_REBUILT, size=self.scenes.size)[1])


class Sourced:
    """Images of sources; every source goes through all its rows before it repeats one."""

    def __init__(self, recipe: VaeRecipe) -> None:
        self.recipe = recipe
        self.sources = _opened(recipe.images, recipe.size)
        self.shown = _opened(recipe.held_out, recipe.size) or self.sources
        self.bad = BadRows(max_share=MAX_BAD_SHARE, log=recipe.run / BAD_ROWS)

    def batch(self, step: int, own: Sequence[int]) -> ImageBatch:
        """Some of a step's images, as of `Scenes`."""
        first = step * self.recipe.batch_size
        samples = [self._sample(self.sources, first + i) for i in own]
        self.bad.require_few(num_tried=self.bad.num_tried, num_bad=self.bad.num_bad)
        return ImageBatch(
            pixel_values=torch.stack([_pixels(sample) for sample in samples]),
            seeds=tuple(sample.seed for sample in samples),
        )

    def chunks(self, number: int | None = None) -> Iterator[Float[Tensor, "n c y x"]]:
        """The images that a run begins with."""
        assert number is not None, "sources need have no end"
        for start in range(0, number, CHUNK):
            ordinals = range(start, min(start + CHUNK, number))
            yield torch.stack([_pixels(self._sample(self.sources, i)) for i in ordinals])

    def held_out(self) -> Float[Tensor, "n c y x"]:
        """Images of the recipe's `held_out`, or else of those it learns."""
        return torch.stack([_pixels(self._sample(self.shown, i)) for i in range(NUM_REBUILT)])

    def _sample(self, sources: Sequence[WeightedSource], ordinal: int) -> GenerationSample:
        seed = self.recipe.loop.seed
        rng = np.random.default_rng((seed, ordinal))
        return build_sample(sources, ordinal, seed=seed, rng=rng, build=_as_drawing, bad=self.bad)


def _opened(configs: Sequence[SourceConfig], size: int) -> list[WeightedSource]:
    prepare = Preparation(
        image_processor=JanusFlowImageProcessor(), drawing_size=size, image_tag=NO_TAG
    )
    return [each for config in configs for each in open_source("generation", config, prepare)]


def _as_drawing(sample: Sample) -> GenerationSample:
    return cast(GenerationSample, sample)


def _pixels(sample: GenerationSample) -> Float[Tensor, "c y x"]:
    return cast(Tensor, sample.pixel_values)
